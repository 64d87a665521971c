-- The client, against our own server and against raw sockets that misbehave.
local test = require "tap"
local http, server = require "http", require "server"
local task, crypto = require "task", require "crypto"
local stream, process, fs = require "stream", require "process", require "fs"

local request = http.request
local ca = crypto.x509_ca { cn = "test ca" }
local other_ca = crypto.x509_ca { cn = "other ca" }
local leaf = crypto.x509_issue { ca = ca, cn = "localhost", ip = { "127.0.0.1" }, dns = { "localhost", "api.test" },
  usage = { "server" } }

-- Signed by itself, for 127.0.0.1, valid on the first day of 2020.
local old = { cert = [[
-----BEGIN CERTIFICATE-----
MIIBVjCB/KADAgECAgEBMAoGCCqGSM49BAMCMBIxEDAOBgNVBAMMB2V4cGlyZWQw
HhcNMjAwMTAxMDAwMDAwWhcNMjAwMTAyMDAwMDAwWjASMRAwDgYDVQQDDAdleHBp
cmVkMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEpMbK2yf+q6MNeoTsdoqTvqLt
bDXkBYXGCApzGX/rywHOXLZ3sb2mCoEifiRBZikkBnMnhgLu34uip80I1RxEeKND
MEEwDwYDVR0RBAgwBocEfwAAATAPBgNVHRMBAf8EBTADAQH/MB0GA1UdDgQWBBS2
FIOgs22dc7O9VIxnDetoJp6NzzAKBggqhkjOPQQDAgNJADBGAiEAkVwztm+8BLMV
vWFvri6W2uWUrj6c4Ix+JyETI5F7Q2MCIQCIBHOhutI6mNgMx52oPKS6gcWkl8g8
jvjCK0Ku6ep0IA==
-----END CERTIFICATE-----
]], key = [[
-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIJdO62SJpKCxAHvn/weSCVCcSmhVRLK6paAiObgoJkN5oAoGCCqGSM49
AwEHoUQDQgAEpMbK2yf+q6MNeoTsdoqTvqLtbDXkBYXGCApzGX/rywHOXLZ3sb2m
CoEifiRBZikkBnMnhgLu34uip80I1RxEeA==
-----END EC PRIVATE KEY-----
]] }

local function listen(t, options)
  local s = t.ok(server.listen(options))
  t.after(function() s:close() end)
  return s, (options.tls and "https" or "http") .. "://127.0.0.1:" .. s:port()
end

local function echo(req)
  return { status = 200, headers = { ["Content-Type"] = "text/plain", ["X-Method"] = req.method, ["X-Peer"] = req.peer },
    body = req.target .. "\n" .. req.body }
end

test("methods, headers, bodies and statuses arrive", function(t)
  local seen
  local _, url = listen(t, { handler = function(req) seen = req return { status = 418, headers = { ["X-Two"] = { "a", "b" } },
    body = "short" } end })
  for _, method in ipairs { "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS" } do
    local body = method ~= "GET" and "body of " .. method or nil
    local r = t.ok(request { method = method, url = url .. "/a%20b?x=1", body = body,
      headers = { ["X-Token"] = "t", Empty = "", Number = 7 } })
    t.eq(r.status, 418)
    t.eq(r.body, "short")
    t.eq(r.headers["x-two"], "a, b")
    t.eq({ seen.method, seen.body, seen.path, seen.target }, { method, body or "", "/a b", "/a%20b?x=1" })
    t.eq({ seen.headers["x-token"], seen.headers.empty, seen.headers.number }, { "t", "", "7" })
    t.eq(seen.headers["content-type"], nil)
    t.has(seen.headers["user-agent"], "vmrun/")
  end
  t.ok(request { method = "POST", url = url })
  t.eq(seen.headers["content-length"], "0")
  local head = t.ok(request { method = "HEAD", url = url })
  t.eq({ head.status, head.body, seen.method }, { 418, "", "HEAD" })
end)

test("a connection is used again, and by several requests at once several are", function(t)
  local peers, open = {}, 0
  local _, url = listen(t, { handler = function(req)
    peers[req.peer] = true
    open = open + 1
    task.sleep(0.02)
    return {}
  end })
  for _ = 1, 5 do t.ok(request { url = url }) end
  local count = 0
  for _ in pairs(peers) do count = count + 1 end
  t.eq(count, 1)
  local jobs = {}
  for i = 1, 20 do jobs[i] = task.spawn(function() return request { url = url } end) end
  for _, job in ipairs(jobs) do t.ok(select(2, job:join())) end
  t.eq(open, 25)
end)

test("large bodies go both ways", function(t)
  local big = ("0123456789abcdef"):rep(512 * 1024) -- 8 MiB
  local _, url = listen(t, { tls = leaf, handler = function(req) return { body = req.body } end })
  local r = t.ok(request { method = "PUT", url = url, body = big, ca = ca.cert })
  t.ok(r.body == big, "the same bytes")
  t.err("too_large", request { method = "PUT", url = url, body = big, ca = ca.cert, max_body = 1000 })
end)

test("binary bodies and header bytes survive", function(t)
  local bytes = {}
  for i = 0, 255 do bytes[#bytes + 1] = string.char(i) end
  bytes = table.concat(bytes)
  local _, url = listen(t, { handler = function(req) return { body = req.body, headers = { ["X-Latin"] = "caf\xe9" } } end })
  local r = t.ok(request { method = "POST", url = url, body = bytes })
  t.eq(r.body, bytes)
  t.eq(r.headers["x-latin"], "caf\u{e9}")
end)

test("what cannot be reached says where and why", function(t)
  local s = t.ok(server.listen { handler = echo })
  local port = s:port()
  s:close()
  local message = t.err("connect", request { url = "http://127.0.0.1:" .. port .. "/secret?token=x" })
  t.eq(message, "127.0.0.1:" .. port .. ": cannot connect: connection refused")
  message = t.err("connect", request { url = "http://api.test/", connect_to = "127.0.0.1:" .. port })
  t.eq(message, "api.test:80 (at 127.0.0.1:" .. port .. "): cannot connect: connection refused")
  t.has(t.err("resolve", request { url = "http://nowhere.invalid/" }), "nowhere.invalid")
  t.err("url", request { url = "ftp://127.0.0.1/" })
  t.err("url", request { url = "not a url" })
  t.err("url", request { url = "http://api.test/", connect_to = "127.0.0.1" })
end)

test("a caller's mistakes raise", function(t)
  t.fails("'url' is missing", request, {})
  t.fails("no option 'metod'", request, { url = "http://127.0.0.1/", metod = "GET" })
  t.fails("'method' wants", request, { url = "http://127.0.0.1/", method = "GET / HTTP/1.1\r\n" })
  t.fails("line break", request, { url = "http://127.0.0.1/", headers = { A = "b\r\nC: d" } })
  t.fails("not a header's name", request, { url = "http://127.0.0.1/", headers = { ["a b"] = "c" } })
  t.fails("'body' wants a string", request, { url = "http://127.0.0.1/", body = {} })
  t.fails("'timeout' wants", request, { url = "http://127.0.0.1/", timeout = -1 })
end)

test("certificates are verified, by authority and by name", function(t)
  local s, url = listen(t, { tls = leaf, handler = echo })
  t.eq(t.ok(request { url = url, ca = ca.cert }).status, 200)
  t.eq(t.ok(request { url = url, insecure = true }).status, 200)
  t.has(t.err("tls", request { url = url }), "an authority that is not trusted here")
  t.has(t.err("tls", request { url = url, ca = other_ca.cert }), "an authority that is not trusted here")
  t.has(t.err("tls", request { url = url, ca = "no pem" }), "'ca' is not a certificate")
  local at = "127.0.0.1:" .. s:port()
  t.eq(t.ok(request { url = "https://api.test/", connect_to = at, ca = ca.cert }).status, 200)
  t.has(t.err("tls", request { url = "https://bad.test/", connect_to = at, ca = ca.cert }), "is not for 'bad.test'")
  t.has(t.err("tls", request { url = url, server_name = "bad.test", ca = ca.cert }), "is not for 'bad.test'")
  local r = t.ok(request { url = "https://10.99.0.1:6443/x", connect_to = at, server_name = "api.test", ca = ca.cert })
  t.eq(r.body, "/x\n")
  local _, expired = listen(t, { tls = { cert = old.cert, key = old.key }, handler = echo })
  t.has(t.err("tls", request { url = expired, ca = old.cert }), "has expired")
end)

test("http and https are told apart", function(t)
  local plain = listen(t, { handler = echo })
  local message = t.err("tls", request { url = "https://127.0.0.1:" .. plain:port() })
  t.ok(message:find("does not speak TLS") or message:find("closed the connection in the TLS handshake"), message)
end)

test("a client certificate is shown; a broken one is said to be broken", function(t)
  local user = crypto.x509_issue { ca = ca, cn = "alice", o = { "ops", "dev" }, usage = { "client" } }
  local stranger = crypto.x509_issue { ca = other_ca, cn = "mallory", usage = { "client" } }
  local _, url = listen(t, { tls = { cert = leaf.cert, key = leaf.key, client_ca = ca.cert }, handler = function(req)
    return { body = req.client and req.client.cn .. ":" .. table.concat(req.client.o, ",") or "nobody" }
  end })
  t.has(t.err("tls", request { url = url, ca = ca.cert, cert = user.cert, key = leaf.key }), "client certificate")
  t.eq(t.ok(request { url = url, ca = ca.cert, cert = user.cert, key = user.key }).body, "alice:ops,dev")
  t.eq(t.ok(request { url = url, ca = ca.cert }).body, "nobody")
  t.eq(t.ok(request { url = url, ca = ca.cert, cert = stranger.cert, key = stranger.key }).body, "nobody")
  t.eq(t.ok(request { url = url, ca = ca.cert, cert = leaf.cert, key = leaf.key }).body, "nobody", "a server's is no client's")
end)

test("a request that takes too long ends, and so does a cancelled one", function(t)
  local _, url = listen(t, { handler = function() task.sleep(0.5) return {} end })
  local start = task.now()
  t.has(t.err("timeout", request { url = url, timeout = 0.05 }), "no answer after 0.05 s")
  t.err("timeout", task.deadline(0.05, request, { url = url }))
  local job = task.spawn(function() return request { url = url } end)
  task.sleep(0.05)
  job:cancel("enough")
  local ok, err = job:join()
  t.eq({ ok, err.code, err.message }, { false, "cancelled", "enough" })
  t.ok(task.now() - start < 0.45)
end)

test("open gives the head, then pieces, then the end", function(t)
  local go = task.queue()
  local _, url = listen(t, { handler = function()
    return { status = 202, headers = { ["X-Kind"] = "watch" }, stream = function(w)
      for _ = 1, 3 do w:write(go:pop()) end
    end }
  end })
  local r <close> = t.ok(http.open { url = url })
  t.eq({ r.status, r.headers["x-kind"] }, { 202, "watch" })
  t.err("timeout", r:read(0.02))
  for _, piece in ipairs { "one", "two", "three" } do
    go:push(piece)
    t.eq(r:read(1), piece)
  end
  t.eq(table.pack(r:read()), { nil, n = 1 })
  t.eq(table.pack(r:read()), { nil, n = 1 })
end)

test("a sender waits for a slow reader, and no byte is lost", function(t)
  local sent, piece = 0, ("x"):rep(64 * 1024)
  local _, url = listen(t, { handler = function()
    return { stream = function(w)
      for _ = 1, 400 do -- 25 MiB
        w:write(piece)
        sent = sent + #piece
      end
    end }
  end })
  local r <close> = t.ok(http.open { url = url })
  task.sleep(0.2)
  local before = sent
  t.ok(before < 20 * 1024 * 1024, "the sender was held back")
  local got = 0
  for chunk in function() return r:read() end do got = got + #chunk end
  t.eq(got, 400 * #piece)
end)

test("an opened answer can be closed in the middle, also while another task reads it", function(t)
  local left = false
  local _, url = listen(t, { handler = function()
    return { stream = function(w)
      local guard <close> = setmetatable({}, { __close = function() left = w:closed() end })
      w:write("a")
      task.sleep(30)
    end }
  end })
  local r = t.ok(http.open { url = url })
  t.eq(r:read(), "a")
  local reader = task.spawn(function() return r:read() end)
  task.sleep(0.01)
  t.fails("another task reads", r.read, r)
  r:close()
  t.eq(table.pack(reader:join()), { true, nil, n = 2 })
  for _ = 1, 100 do if left then break end task.sleep(0.01) end
  t.ok(left, "the server saw it")
end)

test("a broken stream is an error at its reader", function(t)
  local _, url = listen(t, { handler = function()
    return { stream = function(w)
      w:write("begun")
      task.sleep(0.02)
      error("stop here")
    end }
  end })
  local r <close> = t.ok(http.open { url = url })
  t.eq(r:read(), "begun")
  t.has(t.err("reset", r:read(2)), "in the middle of the answer")
end)

test("CONNECT through a proxy; loopback needs none", function(t)
  local asked = {}
  local s = listen(t, { tls = leaf, handler = echo, proxy = function(host, port)
    asked[#asked + 1] = host .. ":" .. port
    return host == "api.test"
  end })
  local proxy = "http://127.0.0.1:" .. s:port()
  t.eq(t.ok(request { url = "https://api.test/p", proxy = proxy, ca = ca.cert }).body, "/p\n")
  local message = t.err("connect", request { url = "https://forbidden.test/", proxy = proxy, ca = ca.cert })
  t.has(message, "refused the connection with status 403")
  t.eq(asked, { "api.test:443", "forbidden.test:443" })
end)

test("the environment's proxy is used, but for NO_PROXY and loopback", function(t)
  local s, direct = listen(t, { tls = leaf, handler = function() return { body = "through" } end,
    proxy = function() return true end })
  local proxy = "http://127.0.0.1:" .. s:port()
  local script = t.tmp() .. "/child.lua"
  fs.write(script, [[
    local http = require "http"
    local r, message, code = http.request { url = arg[1], insecure = true, timeout = 5 }
    io.write(r and r.body or code)
  ]])
  local function child(url, env)
    local run = t.ok(process.run { argv = { process.self(), "lua", script, url }, env = env, timeout = 20 })
    return run.stdout
  end
  t.eq(child("https://api.invalid/", { HTTPS_PROXY = proxy }), "through")
  t.eq(child("https://api.invalid/", { all_proxy = proxy }), "through")
  t.eq(child("https://api.invalid/", { HTTP_PROXY = proxy }), "resolve", "that is for http")
  for _, list in ipairs { "*", "other.test, api.invalid", ".invalid", "invalid", "api.invalid:443" } do
    t.eq(child("https://api.invalid/", { HTTPS_PROXY = proxy, NO_PROXY = list }), "resolve", list)
  end
  for _, list in ipairs { "api.invalid:80", "pi.invalid", "x.api.invalid", "10.0.0.0/8" } do
    t.eq(child("https://api.invalid/", { HTTPS_PROXY = proxy, NO_PROXY = list }), "through", list)
  end
  t.eq(child("https://10.1.2.3/", { HTTPS_PROXY = proxy, no_proxy = "192.168.0.0/16" }), "through")
  t.eq(child(direct, { HTTPS_PROXY = "http://127.0.0.1:1" }), "through", "loopback needs no proxy")
end)

--- A server of raw text: each connection that comes reads one head, then calls the next function, then closes.
local function raw(t, ...)
  local l = t.ok(stream.listen {})
  local scripts = { ... }
  local job = task.spawn(function()
    for _, script in ipairs(scripts) do
      local c = l:accept(5)
      if not c then return end
      local head = ""
      while not head:find("\r\n\r\n", 1, true) do head = head .. (c:read(5) or "\r\n\r\n") end
      script(c)
      c:close()
    end
  end)
  t.after(function() job:cancel() job:join() l:close() end)
  return "http://127.0.0.1:" .. l:port() .. "/"
end

local function says(text, seconds)
  return function(c)
    c:write(text)
    if seconds then task.sleep(seconds) end
  end
end

test("servers that break off", function(t)
  local lost, cut = "the connection was lost before an answer", "the connection was lost in the middle of the answer"
  t.has(t.err("reset", request { url = raw(t, says "") }), lost)
  t.has(t.err("reset", request { url = raw(t, says "HTTP/1.1 200 OK\r\nContent-Le") }), "lost")
  t.has(t.err("reset", request { url = raw(t, says "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc") }), cut)
  t.has(t.err("reset", request { url = raw(t, says "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab") }), cut)
  t.eq(t.ok(request { url = raw(t, says "HTTP/1.1 200 OK\r\n\r\nuntil the end") }).body, "until the end")
end)

test("servers that never answer, or never end", function(t)
  local message = t.err("timeout", request { url = raw(t, says("", 2)), timeout = 0.1 })
  t.has(message, "no answer after 0.1 s")
  message = t.err("timeout", request { url = raw(t, says("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", 2)), timeout = 0.1 })
  t.has(message, "the answer did not end after 0.1 s")
  t.has(t.err("timeout", http.open { url = raw(t, says("HTTP/1.1 200 OK\r\n", 2)), timeout = 0.1 }), "no answer")
  local r <close> = t.ok(http.open { url = raw(t, says("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", 0.2)), timeout = 0.1 })
  t.eq(r:read(), "abc")
  t.err("timeout", r:read(0.05))
  t.err("reset", r:read(2))
end)

test("servers that speak something else", function(t)
  t.err("protocol", request { url = raw(t, says "SSH-2.0-OpenSSH_9.2\r\n") })
  t.err("protocol", request { url = raw(t, says "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n") })
  t.err("too_large", request { url = raw(t, says("HTTP/1.1 200 OK\r\n" .. ("A: b\r\n"):rep(300000))) })
end)

test("interim answers are passed over, trailers too", function(t)
  local url = raw(t, says("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    .. "3\r\nabc\r\n0\r\nX-Trailer: y\r\n\r\n"))
  local r = t.ok(request { url = url })
  t.eq({ r.status, r.body, r.headers.link, r.headers["x-trailer"] }, { 200, "abc" })
end)

test("a kept connection that the server closed meanwhile is replaced", function(t)
  local answer = says "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
  local url = raw(t, answer, answer)
  t.eq(t.ok(request { url = url }).body, "ok")
  task.sleep(0.02)
  t.eq(t.ok(request { method = "POST", url = url, body = "again" }).body, "ok")
end)

test.done()
