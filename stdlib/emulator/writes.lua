--- Counts what was written, at the server: by service, with the last ones by name.
local world = require "emulator.world"
local clock = require "emulator.clock"

local KEEP = 500
local writes = { counts = {}, last = {} }

--- Notes a write. `service`: "arm", "vault", "kubernetes", "git", "host".
function writes.add(service, method, path, status)
  writes.counts[service] = (writes.counts[service] or 0) + 1
  writes.counts.total = (writes.counts.total or 0) + 1
  table.insert(writes.last, { service = service, method = method, path = path, status = status, time = clock.iso() })
  if #writes.last > KEEP then table.remove(writes.last, 1) end
  world.store:put("world", "writes", writes.counts)
end

function writes.restore() writes.counts = world.store:get("world", "writes") or { total = 0 } end

return writes
