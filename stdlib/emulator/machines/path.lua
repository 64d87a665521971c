--- Where a path of a machine lies on our disk. A machine's links lead about in its own root: an absolute one must never take
-- us to a file of the system that the emulator runs on.
local fs = require "fs"

local MOST_LINKS = 40

--- The path on our disk; its last part need not exist. nil and a message where links go round in circles.
return function(root, path)
  local rest, done, links = {}, {}, 0
  local function push(text)
    local parts = {}
    for part in text:gmatch("[^/]+") do parts[#parts + 1] = part end
    for i = #parts, 1, -1 do rest[#rest + 1] = parts[i] end
  end
  push(path)
  while #rest > 0 do
    local part = table.remove(rest)
    if part == ".." then
      done[#done] = nil
    elseif part ~= "." then
      done[#done + 1] = part
      local target = fs.readlink(root .. "/" .. table.concat(done, "/"))
      if target then
        links = links + 1
        if links > MOST_LINKS then return nil, path .. ": Too many levels of symbolic links" end
        done[#done] = nil
        if target:sub(1, 1) == "/" then done = {} end
        push(target)
      end
    end
  end
  return root .. "/" .. table.concat(done, "/")
end
