-- The server, asked by our own client and by the curl program.
local test = require "tap"
local http, server = require "http", require "server"
local task, crypto = require "task", require "crypto"

local stream, process = require "stream", require "process"

local request = http.request
local ca = crypto.x509_ca { cn = "test ca" }
local function issue(name, ...)
  return crypto.x509_issue { ca = ca, cn = name, dns = { name, ... }, ip = { "127.0.0.1" }, usage = { "server" } }
end
local leaf = issue "localhost"

local function listen(t, options)
  local s = t.ok(server.listen(options))
  t.after(function() s:close() end)
  return s, (options.tls and "https" or "http") .. "://" .. (options.host or "127.0.0.1") .. ":" .. s:port()
end

-- An address on which no other process takes a port that was given back.
local OWN = ("127.95.%d.%d"):format(process.pid() // 250 % 250, process.pid() % 250 + 1)

local function descriptors()
  local count = 0
  for _ in pairs(require("fs").list("/proc/self/fd")) do count = count + 1 end
  return count
end

--- Waits until a condition holds.
local function eventually(t, what, condition)
  for _ = 1, 1000 do
    if condition() then return end
    task.sleep(0.01)
  end
  t.ok(false, what)
end

test("a request is taken apart", function(t)
  local seen
  local s, url = listen(t, { host = "127.9.8.7", handler = function(req) seen = req return {} end })
  t.ok(request { url = url .. "/a%2Fb/%e4%b8%ad%?x=1&y=a+b%26c&x=2&&flag&=v", headers = { Host = "Some.Host:99" } })
  t.eq(seen.path, "/a/b/\u{4e2d}%")
  t.eq(seen.target, "/a%2Fb/%e4%b8%ad%?x=1&y=a+b%26c&x=2&&flag&=v")
  t.eq(seen.query, { x = "2", y = "a b&c", flag = "", [""] = "v" })
  t.eq({ seen.method, seen.host, seen.body, seen.client }, { "GET", "some.host", "" })
  t.has(seen.peer, "127.")
  t.ok(s:port() > 0)
end)

test("handlers that fail are answered 500, and the server goes on", function(t)
  local _, url = listen(t, { handler = function(req)
    local kind = req.query.kind
    if kind == "error" then error("on purpose: this line of log belongs to the test") end
    if kind == "number" then return 7 end
    if kind == "status" then return { status = 42 } end
    if kind == "body" then return { body = {} } end
    if kind == "header" then return { headers = { A = "b\nc" } } end
    if kind == "name" then return { headers = { ["a b"] = "c" } } end
    return { status = 204 }
  end })
  for _, kind in ipairs { "error", "number", "status", "body", "header", "name" } do
    local r = t.ok(request { url = url .. "/?kind=" .. kind })
    t.eq({ r.status, r.headers["content-type"] }, { 500, "application/json" }, kind)
    t.has(r.body, '"code":"InternalServerError"')
    t.ok(not r.body:find("on purpose"), "no inner text")
  end
  t.eq(t.ok(request { url = url }).status, 204)
end)

test("a caller's mistakes raise, the world's are told", function(t)
  local function handler() end
  t.fails("'handler' is missing", server.listen, {})
  t.fails("no option 'prot'", server.listen, { handler = handler, prot = 1 })
  t.fails("'port' wants", server.listen, { handler = handler, port = 70000 })
  t.fails("tls: there is no option 'certt'", server.listen, { handler = handler, tls = { certt = "" } })
  t.has(t.err("address", server.listen { host = "0.0.0.0", handler = handler }), "only addresses of 127.0.0.0/8")
  t.err("address", server.listen { host = "10.1.2.3", handler = handler })
  local s = listen(t, { handler = handler })
  t.has(t.err("in_use", server.listen { port = s:port(), handler = handler }), "the port is in use")
  t.err("tls", server.listen { tls = {}, handler = handler })
  t.err("tls", server.listen { tls = { cert = "x", key = "y" }, handler = handler })
  t.has(t.err("tls", server.listen { tls = { cert = leaf.cert, key = ca.key }, handler = handler }), "do not belong together")
  t.err("tls", server.listen { tls = { cert = leaf.cert, key = leaf.key, client_ca = "x" }, handler = handler })
end)

test("a body above the limit is 413, with and without a length", function(t)
  local handler = t.expect(1, function(req) return { body = tostring(#req.body) } end)
  local _, url = listen(t, { max_body = 1000, handler = handler })
  t.eq(t.ok(request { url = url, method = "PUT", body = ("x"):rep(1000) }).body, "1000")
  local r = request { url = url, method = "PUT", body = ("x"):rep(1001) }
  t.eq(r.status, 413)
  r = request { url = url, method = "PUT", body = ("x"):rep(300000), headers = { ["Transfer-Encoding"] = "chunked" } }
  t.eq(r.status, 413)
end)

test("each server name gets its certificate, asked for once", function(t)
  local asked = {}
  local wild = issue("vault.test", "*.vault.test")
  local s, url = listen(t, { tls = { cert = leaf.cert, key = leaf.key, sni = function(name)
    asked[#asked + 1] = name or "(none)"
    task.sleep(0.005)
    if name and name:find("vault.test$") then return wild end
    if name == "list.test" then local c = issue(name) return { c.cert, c.key } end
    if name == "broken.test" then return { cert = "x", key = "y" } end
    if name == "fails.test" then error("on purpose: this line of log belongs to the test") end
  end }, handler = function(req) return { body = req.host } end })
  local at = "127.0.0.1:" .. s:port()
  for _, name in ipairs { "a.vault.test", "a.vault.test", "b.vault.test", "list.test" } do
    local r = t.ok(request { url = "https://" .. name, connect_to = at, ca = ca.cert, headers = { Connection = "close" } })
    t.eq(r.body, name)
  end
  t.eq(asked, { "a.vault.test", "b.vault.test", "list.test" })
  t.eq(t.ok(request { url = url, ca = ca.cert }).status, 200, "without a name: the listener's own")
  for _, name in ipairs { "other.test", "broken.test", "fails.test" } do
    t.has(t.err("tls", request { url = "https://" .. name, connect_to = at, ca = ca.cert }), "is not for '" .. name)
  end
end)

test("a proxy may end TLS, with names or without, and forbid hosts", function(t)
  local s = listen(t, {
    tls = { sni = function(name) return name and issue(name) end },
    proxy = function(host) task.sleep(0.002) return host ~= "no.test" end,
    handler = function(req) return { body = req.host .. " " .. req.body } end,
  })
  local proxy = "http://127.0.0.1:" .. s:port()
  for _, name in ipairs { "one.test", "two.test" } do
    for _ = 1, 2 do
      local r = t.ok(request { method = "POST", url = "https://" .. name .. "/", proxy = proxy, ca = ca.cert, body = "x" })
      t.eq(r.body, name .. " x")
    end
  end
  t.err("connect", request { url = "https://no.test/", proxy = proxy, ca = ca.cert })
  local direct = request { url = "https://one.test/", connect_to = "127.0.0.1:" .. s:port(), ca = ca.cert }
  t.eq(t.ok(direct).body, "one.test ")
end)

test("a stream whose peer leaves is cancelled where it waits, or told by write", function(t)
  local ended = {}
  local _, url = listen(t, { handler = function(req)
    return { stream = function(w)
      local guard <close> = setmetatable({}, { __close = function(_, err)
        ended[#ended + 1] = err and err.code or "returned"
      end })
      w:write("hello\n")
      if req.path == "/wait" then task.sleep(100) end
      while w:write(("x"):rep(100000)) do end
    end }
  end })
  for _, path in ipairs { "/wait", "/write" } do
    local r = t.ok(http.open { url = url .. path })
    t.has(r:read(), "hello")
    task.sleep(0.02)
    r:close()
  end
  eventually(t, "both have ended", function() return #ended == 2 end)
  table.sort(ended)
  t.eq(ended, { "cancelled", "returned" })
end)

test("a hundred watches at once over TLS each get every event, and leave nothing behind", function(t)
  local before = descriptors()
  local watchers, living = {}, 0
  local s = t.ok(server.listen { tls = leaf, handler = function()
    return { stream = function(w)
      local q = task.queue()
      watchers[q] = true
      living = living + 1
      local guard <close> = setmetatable({}, { __close = function() watchers[q] = nil living = living - 1 end })
      w:write("begin\n")
      while w:write(q:pop()) do end
    end }
  end })
  local url, readers, open = "https://127.0.0.1:" .. s:port(), {}, {}
  for i = 1, 100 do
    readers[i] = task.spawn(function()
      local r = assert(http.open { url = url, ca = ca.cert })
      open[i] = r
      local text = ""
      while not text:find("event 10\n") do text = text .. assert(r:read(10)) end
      return text
    end)
  end
  eventually(t, "all watch", function() return living == 100 end)
  for n = 1, 10 do
    for q in pairs(watchers) do q:push("event " .. n .. "\n") end
    task.sleep(0.001)
  end
  for _, reader in ipairs(readers) do
    local _, text = reader:join()
    t.eq(select(2, text:gsub("\n", "")), 11)
  end
  for _, r in ipairs(open) do r:close() end
  eventually(t, "all have ended", function() return living == 0 end)
  s:close()
  eventually(t, "descriptors are given back", function() return descriptors() <= before + 2 end)
end)

test("five hundred connections at once", function(t)
  local waiting, gate = 0, task.event()
  local _, url = listen(t, { handler = function()
    waiting = waiting + 1
    gate:wait()
    return { body = "ok" }
  end })
  local jobs = {}
  for i = 1, 500 do jobs[i] = task.spawn(function() return request { url = url } end) end
  eventually(t, "all are held at once", function() return waiting == 500 end)
  gate:set()
  local good = 0
  for _, job in ipairs(jobs) do
    local _, r = job:join()
    if r and r.body == "ok" then good = good + 1 end
  end
  t.eq(good, 500)
end)

test("close lets answers be sent, ends streams whole, and frees the port at once", function(t)
  local came, go = task.event(), task.event()
  local s = t.ok(server.listen { host = OWN, handler = function(req)
    if req.path == "/stream" then
      return { stream = function(w) w:write("last words") task.sleep(100) end }
    end
    came:set()
    go:wait()
    return { body = "done" }
  end })
  local url = ("http://%s:%d"):format(OWN, s:port())
  local slow = task.spawn(function() return request { url = url } end)
  local r = t.ok(http.open { url = url .. "/stream" })
  t.eq(r:read(), "last words")
  came:wait()
  local closer = task.spawn(function() return s:close(20) end)
  task.sleep(0) -- it has begun
  t.err("connect", request { url = url, headers = { ["X-New"] = "connection" }, connect_to = OWN .. ":" .. s:port() })
  local again = t.ok(server.listen { host = OWN, port = s:port(), handler = function() return {} end })
  again:close()
  go:set()
  local _, answer = slow:join()
  t.eq(answer and answer.body, "done")
  t.eq(table.pack(r:read(2)), { nil, n = 1 })
  t.eq({ closer:join() }, { true, true })
  t.ok(s:close(), "twice")
end)

test("close cuts what does not end in time; a handler may close its own server", function(t)
  local came, go, over = task.event(), task.event(), task.event()
  local s = t.ok(server.listen { handler = function()
    came:set()
    go:wait()
    over:set()
    return {}
  end })
  local asking = task.spawn(function() return request { url = "http://127.0.0.1:" .. s:port() } end)
  came:wait()
  s:close(0.05) -- the handler has not ended
  t.eq(select(4, asking:join()), "reset")
  go:set()
  over:wait()
  local own
  own = t.ok(server.listen { handler = function() own:close() return { body = "bye" } end })
  t.eq(t.ok(request { url = "http://127.0.0.1:" .. own:port() }).body, "bye")
end)

test("the curl program agrees", function(t)
  local s = listen(t, { tls = { cert = leaf.cert, key = leaf.key, client_ca = ca.cert }, proxy = function() return true end,
    handler = function(req)
      if req.path == "/stream" then
        return { stream = function(w) for i = 1, 3 do w:write(i .. "\n") task.sleep(0.01) end end }
      end
      return { status = 201, body = req.method .. " " .. #req.body .. " " .. (req.client and req.client.cn or "-") .. "\n" }
    end })
  local folder = t.tmp()
  local fs = require "fs"
  local user = crypto.x509_issue { ca = ca, cn = "bob", usage = { "client" } }
  fs.write(folder .. "/ca.pem", ca.cert)
  fs.write(folder .. "/user.pem", user.cert .. user.key)
  fs.write(folder .. "/big", ("b"):rep(3000000))
  local url = "https://127.0.0.1:" .. s:port()
  local function curl(...)
    local run = t.ok(process.run { argv = { "curl", "-sS", "--max-time", "10", "--cacert", folder .. "/ca.pem", ... },
      env = { PATH = process.env("PATH") } })
    t.eq({ run.code, run.stderr }, { 0, "" })
    return run.stdout
  end
  t.eq(curl(url .. "/x"), "GET 0 -\n")
  t.eq(curl("-E", folder .. "/user.pem", "-T", folder .. "/big", url .. "/x"), "PUT 3000000 bob\n")
  t.eq(curl("-H", "Transfer-Encoding: chunked", "-T", folder .. "/big", url .. "/x"), "PUT 3000000 -\n")
  t.eq(curl("-N", url .. "/stream"), "1\n2\n3\n")
  t.eq(curl("-I", "-o", "/dev/null", "-w", "%{http_code}", url .. "/x"), "201")
  t.eq(curl("-p", "-x", "http://127.0.0.1:" .. s:port(), "https://localhost/x"), "GET 0 -\n")
  t.eq(curl("--http1.0", url .. "/stream"), "1\n2\n3\n")
  t.eq(curl(url .. "/a", url .. "/b", "-w", "%{num_connects} "), "GET 0 -\n1 GET 0 -\n0 ")
end)

--- Sends pieces, then reads all that comes.
local function talk(s, ...)
  local c <close> = assert(stream.connect { host = "127.0.0.1", port = s:port() })
  for _, piece in ipairs { ... } do
    c:write(piece)
    task.sleep(0.002)
  end
  local text = ""
  while true do
    local piece = c:read(0.3)
    if not piece then return text end
    text = text .. piece
  end
end

test("requests in pieces, two at once, and no requests at all", function(t)
  local _, count = nil, 0
  local s = listen(t, { handler = function(req) count = count + 1 return { body = req.path .. req.body } end })
  t.has(talk(s, "GE", "T /a HTTP/1.1\r\nHo", "st: x\r\nConnection: close\r\n", "\r\n"), "\r\n\r\n/a")
  local both = talk(s, "GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
  t.ok(both:find "/1HTTP/1.1 200 OK.*/2$", both)
  t.eq(count, 3)
  t.eq(talk(s, "nonsense\r\n\r\n"), "")
  t.ok(not talk(s, "GET /" .. ("x"):rep(100000) .. " HTTP/1.1\r\n\r\n"):find("200 OK"))
  for _, part in ipairs { "", "GET / HT", "GET / HTTP/1.1\r\nHost: x\r\n", "PUT / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc" } do
    local c = t.ok(stream.connect { host = "127.0.0.1", port = s:port() })
    if part ~= "" then c:write(part) end
    task.sleep(0.005)
    c:close()
  end
  t.eq(count, 3)
  t.has(talk(s, "GET /z HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), "/z")
end)

test("what a TLS listener says to those who do not speak TLS", function(t)
  local s = listen(t, { tls = { cert = leaf.cert, key = leaf.key, sni = function() end }, proxy = function() return true end,
    handler = function() return {} end })
  t.has(talk(s, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"), "HTTP/1.1 400 Bad Request")
  t.has(talk(s, "CONNECT nowhere HTTP/1.1\r\n\r\n"), "HTTP/1.1 400 Bad Request")
  t.has(talk(s, "CONN", "ECT a.test:4", "43 HTTP/1.1\r\nHost: a", "\r\n\r", "\n"), "HTTP/1.1 200 Connection established")
  t.eq(talk(s, "CONNECT a.test:443 HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n"), "HTTP/1.1 200 Connection established\r\n\r\n")
end)

test("a TLS hello in pieces is understood; a silent peer costs no time", function(t)
  local l = t.ok(stream.listen {})
  local curl = task.spawn(function()
    return process.run { argv = { "curl", "-sk", "--max-time", "5", "--resolve", "piece.test:" .. l:port() .. ":127.0.0.1",
      "https://piece.test:" .. l:port() .. "/" } }
  end)
  local c = t.ok(l:accept(5))
  local hello = t.ok(c:read(5))
  c:close()
  l:close()
  curl:join()
  local before, asked = descriptors(), nil
  local s = listen(t, { tls = { cert = leaf.cert, key = leaf.key, sni = function(name) asked = name end },
    handler = function() return {} end })
  local cpu, half, whole = os.clock(), {}, {}
  for i = 1, 5 do
    half[i] = t.ok(stream.connect { host = "127.0.0.1", port = s:port() })
    half[i]:write(hello:sub(1, 3 + i * 20))
    whole[i] = t.ok(stream.connect { host = "127.0.0.1", port = s:port() })
    for at = 1, #hello, 100 do
      whole[i]:write(hello:sub(at, at + 99))
      task.sleep(0.001)
    end
    t.eq(whole[i]:read(2):byte(), 0x16, "the server's hello")
  end
  t.eq(asked, "piece.test")
  task.sleep(1)
  t.ok(os.clock() - cpu < 0.5, "processor seconds: " .. os.clock() - cpu)
  for i = 1, 5 do
    half[i]:close()
    whole[i]:close()
  end
  task.sleep(0.05)
  s:close()
  eventually(t, "descriptors are given back", function() return descriptors() <= before end)
end)


test("one port for TLS and for plain HTTP; an answer that never comes", function(t)
  local answers = { lost = { drop = true } }
  local function handler(name)
    return function(req) return answers[req.path:sub(2)] or { status = 200, body = name .. " " .. req.path } end
  end
  local secure, url = listen(t, { tls = leaf, handler = handler "secure", proxy = function() return false end })
  local plain = listen(t, { handler = handler "plain" })
  local bare = "http://127.0.0.1:" .. secure:port()
  t.eq(request { url = bare .. "/a", method = "GET" }.status, 400)
  secure:plain(plain)
  t.eq(request { url = bare .. "/a", method = "GET" }.body, "plain /a")
  t.eq(request { url = url .. "/b", method = "GET", ca = ca.cert }.body, "secure /b")
  local curl = process.run { argv = { "curl", "-s", "-x", bare, "http://169.254.169.254/metadata" } }
  t.eq(curl.stdout, "plain /metadata")
  local answer, _, code = request { url = url .. "/lost", method = "GET", ca = ca.cert }
  t.eq(answer, nil)
  t.eq(code, "reset")
  plain:close()
  t.eq(request { url = bare .. "/a", method = "GET" }.status, 400)
end)

test.done()
