local test = require "tap"
local task, stream, fs = require "task", require "stream", require "fs"
local process = require "process"

--- A pair of connected streams.
local function pair(t)
  local l <close> = t.ok(stream.listen {})
  local a = t.ok(stream.connect { host = "127.0.0.1", port = l:port() })
  local b = t.ok(l:accept())
  t.after(function() a:close() b:close() end)
  return a, b
end

local function read_all(s)
  local parts = {}
  for part in function() return s:read() end do parts[#parts + 1] = part end
  return table.concat(parts)
end

test("connect, write, read, end", function(t)
  local a, b = pair(t)
  t.ok(a:write "hello")
  t.eq(b:read(), "hello")
  t.ok(b:write "back")
  t.eq(a:read(1), "back")
  t.ok(a:shutdown())
  t.eq(b:read(), nil)
  t.eq(table.pack(b:read()).n, 1, "the end is no failure")
  t.ok(b:write "half open")
  t.eq(a:read(), "half open")
  t.err("reset", a:write "too late")
end)

test("both ends know each other", function(t)
  local l <close> = stream.listen { host = "127.0.0.1" }
  local a <close> = stream.connect { host = "localhost", port = l:port(), timeout = 5 }
  local b <close> = l:accept(1)
  t.eq(a:peer(), "127.0.0.1:" .. l:port())
  t.has(b:peer(), "127.0.0.1:")
end)

test("unix sockets", function(t)
  local path = t.tmp() .. "/socket"
  do
    local l <close> = t.ok(stream.listen { path = path })
    t.eq(fs.stat(path).mode, 0x180)
    t.err("in_use", stream.listen { path = path })
    local a <close> = t.ok(stream.connect { path = path })
    local b <close> = t.ok(l:accept())
    a:write "x"
    t.eq(b:read(), "x")
  end
  t.err("not_found", stream.connect { path = path })
  t.err("too_long", stream.listen { path = "/" .. string.rep("x", 200) })
  t.err("too_long", stream.connect { path = "/" .. string.rep("x", 200) })
end)

test("failures to connect and listen say where", function(t)
  -- On an address of its own nobody else takes the port meanwhile.
  local host, port = ("127.96.%d.%d"):format(process.pid() // 250 % 250, process.pid() % 250 + 1), nil
  do
    local l <close> = stream.listen { host = host }
    port = l:port()
    t.err("in_use", stream.listen { host = host, port = port })
  end
  t.eq(t.err("refused", stream.connect { host = host, port = port }),
    ("cannot connect to %s:%d: connection refused"):format(host, port))
  t.has(t.err("value", stream.listen { host = "not an address" }), "not an address and a port")
  t.fails("needs a port", stream.connect, { host = "x" })
  t.fails("needs host and port", stream.connect, {})
end)

test("reads and accepts have timeouts", function(t)
  local a = pair(t)
  t.err("timeout", a:read(0.005))
  local l <close> = stream.listen {}
  t.err("timeout", l:accept(0.005))
end)

test("closing wakes who waits", function(t)
  local a = pair(t)
  local l = stream.listen {}
  local reader = task.spawn(function() return a:read() end)
  local acceptor = task.spawn(function() return l:accept() end)
  task.sleep(0.001)
  a:close()
  l:close()
  t.eq({ reader:join() }, { true, nil, "the stream is closed", "closed" })
  t.eq({ acceptor:join() }, { true, nil, "the listener is closed", "closed" })
  t.err("closed", a:write "x")
  a:close()
end)

test("a writer waits for a slow reader", function(t)
  local a, b = pair(t)
  local text = string.rep("0123456789abcdef", 1 << 19)
  local written = false
  local writer = task.spawn(function() a:write(text) written = true a:shutdown() end)
  task.sleep(0.03)
  t.ok(not written, "8 MiB do not fit into any buffer")
  t.ok(read_all(b) == text)
  writer:join()
  t.ok(written)
end)

test("a peer that goes away is an error for the writer", function(t)
  local a, b = pair(t)
  b:close()
  local ok, _, code
  local stop = task.now() + 5
  repeat
    ok, _, code = a:write(string.rep("x", 100000))
    task.sleep(0.001)
  until not ok or task.now() > stop
  t.eq(code, "reset")
end)

test("waiting reads and connects can be cancelled", function(t)
  local a, b = pair(t)
  local reader = task.spawn(function() return a:read() end)
  task.sleep(0.001)
  reader:cancel()
  reader:join()
  b:write "still works"
  t.eq(a:read(), "still works")
  local job = task.spawn(stream.connect, { host = "127.0.0.1", port = 9 })
  task.sleep(0)
  job:cancel()
  job:join()
end)

test("pipe copies both ways until both have ended", function(t)
  local a, inner_a = pair(t)
  local b, inner_b = pair(t)
  local pump = task.spawn(stream.pipe, inner_a, inner_b)
  local text = string.rep("0123456789abcdef", 1 << 17)
  local sender = task.spawn(function() a:write(text) a:shutdown() end)
  t.ok(read_all(b) == text)
  sender:join()
  b:write "answer"
  b:shutdown()
  t.eq(read_all(a), "answer")
  t.eq({ pump:join() }, { true, true })
  t.err("closed", inner_a:read())
end)

test("a pipe whose one side is reset ends, and the other with it", function(t)
  local a, inner_a = pair(t)
  local b, inner_b = pair(t)
  local pump = task.spawn(stream.pipe, inner_a, inner_b)
  local writer = task.spawn(function() b:write(string.rep("nobody reads this", 1 << 18)) end)
  t.ok(a:read())
  a:close() -- with data unread, and more to come: the peer sees a reset, no end
  t.ok((pump:join()))
  writer:join()
  t.eq(b:read(5), nil)
end)

test("a cancelled pipe closes both", function(t)
  local a, inner_a = pair(t)
  local b, inner_b = pair(t)
  local pump = task.spawn(stream.pipe, inner_a, inner_b)
  task.sleep(0.001)
  pump:cancel()
  pump:join()
  t.eq({ a:read(1), b:read(1) }, {})
end)

test("pipe takes whatever behaves like a stream", function(t)
  local a, inner_a = pair(t)
  local b, inner_b = pair(t)
  local like = { read = function(_, s) return inner_b:read(s) end, write = function(_, s) return inner_b:write(s) end,
    eof = function() inner_b:shutdown() end, close = t.expect(1, function() inner_b:close() end) }
  local pump = task.spawn(stream.pipe, inner_a, like)
  a:write "there"
  t.eq(b:read(), "there")
  b:write "back"
  t.eq(a:read(), "back")
  a:shutdown()
  b:shutdown()
  t.eq({ pump:join() }, { true, true })
end)

test("many connections at once", function(t)
  local l <close> = stream.listen {}
  local n = 200
  local server = task.spawn(function()
    for _ = 1, n do
      local s = l:accept(5)
      task.spawn(function() local got <close> = s s:write(s:read():upper()) end)
    end
  end)
  local jobs = {}
  for i = 1, n do
    jobs[i] = task.spawn(function()
      local s <close> = assert(stream.connect { host = "127.0.0.1", port = l:port() })
      s:write("client " .. i)
      return s:read()
    end)
  end
  for i = 1, n do t.eq({ jobs[i]:join() }, { true, "CLIENT " .. i }) end
  server:join()
end)

test.done()
