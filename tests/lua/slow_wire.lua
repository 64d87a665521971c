--- A wire between a client and a server that counts round trips and can be as long as one likes: a TCP proxy that hands on each
-- piece of what it hears after half of its round-trip time.
--
-- A round trip is counted by what could have caused what: the client's first words begin trip 1; what the server says after it
-- has heard words of trip n ends trip n, and what the client says after it has heard that begins trip n + 1.
local stream = require "stream"
local task = require "task"

local M = {}

-- Hands the pieces that `from` says on to `to` when they are due. say(): the trip of a piece; hear(trip): it has arrived.
local function carry(from, to, delay, say, hear)
  local pieces = task.queue()
  local writer = task.spawn(function()
    while true do
      local piece = pieces:pop()
      if not piece then break end
      local early = piece.due - task.now()
      if early > 0 then task.sleep(early) end
      hear(piece.trip)
      if not piece.data then
        to:shutdown()
        break
      end
      if not to:write(piece.data) then break end
    end
  end)
  while true do
    local data = from:read()
    pieces:push { data = data, trip = say(), due = task.now() + delay }
    if not data then break end
  end
  writer:join()
end

local function relay(wire, client)
  local server = stream.connect { host = wire.to_host, port = wire.to_port, timeout = 10 }
  if not server then return client:close() end
  local called = { trips = 0 }
  wire.calls[#wire.calls + 1] = called
  local asked, answered = 0, 0 -- the newest trips that the server and the client have heard of
  local back = task.spawn(carry, server, client, wire.delay, function() return asked end,
    function(trip)
      answered = math.max(answered, trip)
      called.trips = answered
    end)
  carry(client, server, wire.delay, function() return answered + 1 end, function(trip) asked = math.max(asked, trip) end)
  back:join()
  server:close()
  client:close()
end

--- Starts one in front of a server. options: to_host, to_port, host ("127.0.0.1"), port (a free one), seconds (0): its round-trip
-- time.
-- @return { port, calls = { { trips } for each connection }, close() }
function M.start(options)
  local listener = assert(stream.listen { host = options.host or "127.0.0.1", port = options.port or 0 })
  local wire = { to_host = options.to_host, to_port = options.to_port, delay = (options.seconds or 0) / 2, calls = {},
    port = listener:port() }
  local relays = {}
  local accepting = task.spawn(function()
    while true do
      local client = listener:accept()
      if not client then break end
      relays[#relays + 1] = task.spawn(relay, wire, client)
    end
  end)

  --- Ends it with what goes through it.
  function wire.close()
    accepting:cancel("the wire is taken down")
    accepting:join()
    listener:close()
    for _, running in ipairs(relays) do
      running:cancel("the wire is taken down")
      running:join()
    end
  end
  return wire
end

return M
