--- Rotations of the key of Secrets: which step is next, that no order of deaths, writes, joins and other wishes
-- leaves an API server that cannot read what is there, and what is refused; join tokens; what the emulator's API servers make of
-- a file.
local test = require "tap"
local client, config, lab = require "kubernetes.client", require "kubeadm.config", require "kubernetes_lab"
local crypto, json, process, yaml = require "crypto", require "json", require "process", require "yaml"
local keys = require "kubeadm.encryption_keys"
local Encryption = require "emulator.kubernetes.encryption"

local made = {}

local function key(name)
  made[name] = made[name] or crypto.base64(crypto.sha256(name):sub(1, 32))
  return { name = name, secret = made[name] }
end

-- "a,b" -> keys; a "*" behind them: its API server does not know yet.
local function host(i, text)
  local list = {}
  for name in text:gmatch "%l" do list[#list + 1] = key(name) end
  return { name = "cp-" .. i, keys = list, text = text, loading = text:find("*", 1, true) ~= nil }
end

local function hosts_of(texts)
  local list = {}
  for i, text in ipairs(texts) do list[i] = host(i, text) end
  return list
end

local function names(list)
  local found = {}
  for i, one in ipairs(list) do found[i] = one.name end
  return table.concat(found, ",")
end

local function told(step) return step.action .. (step.host and (" %s %s"):format(step.host.name, names(step.keys)) or "") end

test("a file is read as it was written, and no other is", function(t)
  local list = { key "a", key "b" }
  t.eq(keys.decode(keys.encode(list)), list)
  for _, other in ipairs { "", "kind: List", keys.encode(list):gsub("secretbox", "aescbc"), keys.encode(list):gsub("identity: {}", "kms: {}"),
    keys.encode(list):gsub("%- secrets", "- configmaps"), keys.encode(list):gsub("resources:\n  %- secrets", "resources: [secrets, configmaps]") } do
    t.ok(other ~= keys.encode(list))
    t.eq(keys.decode(other), nil, other)
  end
  t.eq(keys.flaw(key("a").secret), nil)
  t.eq({ keys.flaw "dGlueQ==", keys.flaw "no base64!", keys.flaw(nil) }, { "it is not 32 bytes in base64", "it is not 32 bytes in base64", "it is not 32 bytes in base64" })
end)

test("from every state of three hosts to the next step", function(t)
  for _, row in ipairs {
    -- files, stale, next (the key that is wanted is b)
    { { "a", "a", "a" }, nil, "add cp-1 a,b" },
    { { "a,b*", "a", "a" }, nil, "load cp-1 a,b" },
    { { "a,b", "a", "a" }, nil, "add cp-2 a,b" },
    { { "a,b", "a,b", "a" }, nil, "add cp-3 a,b" },
    { { "a,b", "a,b", "a,b*" }, nil, "load cp-3 a,b" },
    { { "a,b", "a,b", "a,b" }, nil, "first cp-1 b,a" },
    { { "b,a*", "a,b", "a,b" }, nil, "load cp-1 b,a" },
    { { "b,a", "a,b", "a,b" }, nil, "first cp-2 b,a" },
    { { "b,a", "b,a", "a,b" }, nil, "first cp-3 b,a" },
    { { "b,a", "b,a", "b,a" }, nil, "count" },
    { { "b,a", "b,a", "b,a" }, 7, "rewrite" },
    { { "b,a", "b,a", "b,a" }, 0, "remove cp-1 b" },
    { { "b*", "b,a", "b,a" }, nil, "count" },
    { { "b*", "b,a", "b,a" }, 0, "load cp-1 b" },
    { { "b", "b,a", "b,a" }, nil, "count" },
    { { "b", "b,a", "b,a" }, 0, "remove cp-2 b" },
    { { "b", "b", "b,a" }, 0, "remove cp-3 b" },
    { { "b", "b", "b" }, nil, "done" },
    { { "b", "b", "b*" }, nil, "load cp-3 b" },
    -- the old key went too early somewhere
    { { "b", "b,a", "b,a" }, 3, "add cp-1 b,a" },
    { { "b*", "b,a", "b,a" }, 3, "add cp-1 b,a" },
    -- from the middle of a rotation to another key
    { { "a,c", "a,c", "a" }, nil, "add cp-1 a,c,b" },
    { { "c,a", "a,c", "a,c" }, nil, "add cp-1 c,a,b" },
    { { "c,a,b", "a,c,b", "a,c,b" }, nil, "first cp-1 b,c,a" },
    { { "b,c,a", "b,c,a", "b,c,a" }, 0, "remove cp-1 b" },
    -- and back
    { { "b,a", "a,b", "a,b" }, nil, "first cp-2 b,a" },
    -- one host tells nobody
    { { "a" }, nil, "first cp-1 b,a" },
    { { "b,a" }, nil, "count" },
    { { "b,a" }, 0, "remove cp-1 b" },
    { { "b" }, nil, "done" },
  } do
    t.eq(told(keys.next(hosts_of(row[1]), key "b", row[2])), row[3], table.concat(row[1], " ") .. " " .. tostring(row[2]))
  end
end)

test("a key keeps the name under which it encrypts", function(t)
  local hosts = hosts_of { "a", "a", "a" }
  for _, one in ipairs(hosts) do one.keys[1].name = "key1" end
  t.eq(keys.named(hosts, key "a").name, "key1")
  t.eq(told(keys.next(hosts, key "a")), "done")
  t.eq(told(keys.next(hosts, key "b")), "add cp-1 key1,b")
end)

test("what is in the way of a rotation", function(t)
  t.eq(keys.objection(hosts_of { "a", "a,b", "b,a" }, key "b"), nil)
  local hosts = hosts_of { "a", "a", "a" }
  hosts[2] = { name = "cp-2" }
  t.eq(keys.objection(hosts, key "b"), "cp-2 has no /etc/kubernetes/encryption.yaml")
  hosts[2] = { name = "cp-2", text = "kind: List" }
  t.has(keys.objection(hosts, key "b"), "/etc/kubernetes/encryption.yaml of cp-2 is not as vmrun writes it")
  hosts = hosts_of { "a", "a", "a" }
  hosts[3].keys[1].secret = key("z").secret
  t.eq(keys.objection(hosts, key "b"), "two control planes have different keys of the name a")
  local why, hint = keys.objection(hosts_of { "a", "a" }, { name = "a", secret = key("z").secret })
  t.eq(why, "the control planes have another key of the name a than the one that is given")
  t.has(hint, "give the new key a name of its own")
  t.ok(keys.objection(hosts_of { "a", "a" }, { name = "a" }), "one that is to be made has another value for certain")
  t.eq(keys.objection(hosts_of { "a", "a" }, { name = "b" }), nil)
end)

-- All that can happen to three hosts (the third joins at some time) from the first key on: a run takes one small step (the mark,
-- the file, the API server), dies, or goes on to another key; each API server writes. `data`: the keys of what etcd has.

local WANTED = { "b", "c" }

local function has(text, name) return text:find(name, 1, true) ~= nil end

local function with(set, name) return has(set, name) and set or set < name and set .. name or name .. set end

local function letters(text) return (text:gsub("%A", "")) end

local function id_of(s)
  local parts = { s.target, s.data, s.stale and tostring(s.stale) or "-", s.at or "" }
  for _, h in ipairs(s.hosts) do parts[#parts + 1] = h.file .. "/" .. h.memory .. (h.loading and "*" or "") end
  return table.concat(parts, " ")
end

local function copy(s)
  local new = { target = s.target, data = s.data, stale = s.stale, at = s.at, hosts = {} }
  for i, h in ipairs(s.hosts) do new.hosts[i] = { file = h.file, memory = h.memory, loading = h.loading } end
  return new
end

local decided = {}

local function decide(s)
  local hosts, id = {}, id_of(s)
  if decided[id] then return decided[id] end
  for i, h in ipairs(s.hosts) do hosts[i] = host(i, h.file .. (h.loading and "*" or "")) end
  decided[id] = keys.next(hosts, key(s.target), s.stale)
  return decided[id]
end

local function is_readable(s)
  for _, h in ipairs(s.hosts) do
    for name in s.data:gmatch "%l" do if not has(h.memory, name) then return false end end
  end
  return true
end

-- The states after the next small step. `at` is within a step of a host: "I:KEYS:mark", "...:file", "...:ready".
local function go_on(s)
  local new = copy(s)
  if s.at then
    local i, file, what = s.at:match "^(%d):(%l+):(%l+)$"
    local h = new.hosts[tonumber(i)]
    if what == "mark" then
      h.file, new.at = file, ("%s:%s:file"):format(i, file)
    elseif what == "file" then
      h.memory, new.at = h.file, ("%s:%s:ready"):format(i, file)
    else
      h.loading, new.at = false, nil
    end
    return { new }
  end
  local step = decide(s)
  if step.action == "done" then return {} end
  if step.action == "count" then
    new.stale = s.data ~= s.target and 1 or 0
  elseif step.action == "rewrite" then
    local half = copy(s) -- it dies within
    half.data, half.stale = with(s.data, s.target), nil
    new.data, new.stale = s.target, nil
    return { new, half }
  else
    local i = tonumber(step.host.name:match "%d")
    new.hosts[i].loading, new.at = true, ("%d:%s:mark"):format(i, letters(names(step.keys)))
  end
  return { new }
end

local function all_after(s)
  local list = go_on(s)
  for _, h in ipairs(s.hosts) do -- somebody writes
    local new = copy(s)
    new.data = with(s.data, h.memory:sub(1, 1))
    list[#list + 1] = new
  end
  local dead = copy(s)
  dead.at, dead.stale = nil, nil
  list[#list + 1] = dead
  for _, name in ipairs(WANTED) do -- the next run wants another one
    local new = copy(dead)
    new.target = name
    list[#list + 1] = new
  end
  if #s.hosts < 3 then -- or has somebody join
    local new = copy(dead)
    new.hosts[#new.hosts + 1] = { file = s.hosts[1].file, memory = s.hosts[1].file, loading = false }
    list[#list + 1] = new
  end
  return list
end

-- How many steps it takes from a state to the end, if nothing happens.
local function finish(s)
  for steps = 1, 200 do
    local list = go_on(s)
    if #list == 0 then return steps, s end
    s = list[1]
  end
  return nil, s
end

local function explore(t, start, limit)
  local seen, queue, at = { [id_of(start)] = true }, { start }, 1
  while queue[at] do
    local s = queue[at]
    if not is_readable(s) then return nil, id_of(s) end
    if not s.at and not s.stale then
      local steps, last = finish(s)
      if not steps then return nil, "it does not end from " .. id_of(s) end
      for _, h in ipairs(last.hosts) do t.eq(h.file .. h.memory, last.target .. last.target, id_of(s)) end
      t.eq(last.data, last.target, id_of(s))
    end
    for _, new in ipairs(all_after(s)) do
      local id = id_of(new)
      if not seen[id] then
        seen[id] = true
        queue[#queue + 1] = new
      end
    end
    at = at + 1
    if at > limit then return nil, "too many states" end
  end
  return at - 1
end

local function beginning()
  return { target = "b", data = "a", hosts = { { file = "a", memory = "a" }, { file = "a", memory = "a" } } }
end

test("whatever happens, all API servers can read all there is, and a run comes to its end", function(t)
  local quiet = { eq = function(a, b, what) if a ~= b then error(("%s: %s is not %s"):format(what, a, b), 0) end end }
  local ok, count, why = pcall(explore, quiet, beginning(), 2000000)
  t.ok(ok, tostring(count))
  t.ok(count, why)
  t.ok(count and count > 1000, "there is much to happen: " .. tostring(count))
end)

test("a wrong order would be found", function(t)
  local was = keys.next
  t.after(function() keys.next = was end)
  local quiet = { eq = function(a, b, what) if a ~= b then error(("%s: %s is not %s"):format(what, a, b), 0) end end }
  for what, wrong in pairs {
    ["the first before all can read it"] = function(hosts, target, stale)
      local step = was(hosts, target, stale)
      if step.action == "add" then return { action = "first", host = step.host, keys = { step.keys[#step.keys], table.unpack(step.keys, 1, #step.keys - 1) } } end
      return step
    end,
    ["removed before Secrets are written"] = function(hosts, target, stale)
      local step = was(hosts, target, stale)
      return step.action == "count" and was(hosts, target, 0) or step
    end,
    ["only the new one from the beginning"] = function(hosts, target, stale)
      local step = was(hosts, target, stale)
      return step.host and { action = "remove", host = step.host, keys = { target } } or step
    end,
  } do
    keys.next, decided = wrong, {}
    local ok, count, why = pcall(explore, quiet, beginning(), 2000000)
    t.ok(ok and not count and why or not ok and tostring(count):find " is not ", what .. ": " .. tostring(count))
  end
end)

-- Writing Secrets anew.

test("all Secrets are written anew, page by page, by patches of nothing", function(t)
  local NAMES, written, asked, told = 230, {}, {}, {}
  local function items(first, last)
    local list = json.array {}
    for i = first, last do list[#list + 1] = { metadata = { name = "s" .. i, namespace = "n" } } end
    return list
  end
  local forgotten = false
  local api = {
    path = function(_, _, _, namespace, name) return "/api/v1" .. (name and ("/namespaces/%s/secrets/%s"):format(namespace, name) or "/secrets") end,
    request = function(_, method, path, body, options)
      if method == "PATCH" then
        t.eq({ body, options.content_type, options.ok[404], options.ok[409] }, { "{}", "application/merge-patch+json", true, true })
        written[path:match "[^/]+$"] = (written[path:match "[^/]+$"] or 0) + 1
        return nil, { status = path:find "s7$" and 409 or 404 }
      end
      t.has(options.accept, "PartialObjectMetadataList")
      asked[#asked + 1] = path
      local from = tonumber(path:match "continue=[a-z]+(%d+)") or 0
      if from == 100 and not forgotten then
        forgotten = true
        t.ok(options.ok[410])
        return nil, { status = 410, body = json.encode { kind = "Status", code = 410, metadata = { continue = "newest100" } } }
      end
      local last = math.min(from + 100, NAMES)
      return { metadata = { continue = last < NAMES and "page" .. last or "", remainingItemCount = last < NAMES and NAMES - last or nil }, items = items(from + 1, last) }
    end,
  }
  require("kubeadm.rewrite").secrets(api, function(done, total) told[#told + 1] = done .. "/" .. total end)
  for i = 1, NAMES do t.eq(written["s" .. i], 1, "s" .. i) end
  t.eq(asked, { "/api/v1/secrets?limit=100", "/api/v1/secrets?limit=100&continue=page100", "/api/v1/secrets?limit=100&continue=newest100",
    "/api/v1/secrets?limit=100&continue=page200" })
  t.eq({ told[1], told[5], told[#told] }, { "20/230", "100/230", "230/230" })
  api.request = function(_, method)
    if method == "PATCH" then error("refused by a webhook", 0) end
    return { metadata = {}, items = items(1, 20) }
  end
  local ok, why = pcall(require("kubeadm.rewrite").secrets, api, function() end)
  t.eq({ ok, why }, { false, "refused by a webhook" })
end)

-- Join tokens.

local function with_control_plane(t, options)
  options = options or {}
  local said, deleted, tokens = {}, {}, 0
  local was = { connection = package.loaded["host.connection"], connect = package.loaded["kubernetes.connect"], task = package.loaded.task }
  t.after(function()
    package.loaded["host.connection"], package.loaded["kubernetes.connect"], package.loaded["kubeadm.credentials"] = was.connection, was.connect, nil
    package.loaded.task = was.task
  end)
  package.loaded["kubeadm.credentials"] = nil
  package.loaded["host.connection"] = { open = function()
    return { exec = function(_, command)
      said[#said + 1] = command
      if command:find "upload%-certs" then return { code = 0, stderr = "", stdout = ("ab"):rep(32) .. "\n" } end
      tokens = tokens + 1
      return { code = 0, stdout = ("abcde%d.0123456789abcdef\n"):format(tokens), stderr = "" }
    end }
  end }
  package.loaded["kubernetes.connect"] = { client = function()
    return {
      get = function() return { metadata = { ownerReferences = json.array { { name = "bootstrap-token-owner0" } } } } end,
      delete = function(_, object)
        if options.fails then error("the API does not answer", 0) end
        deleted[#deleted + 1] = object.metadata.name
      end,
    }
  end }
  if options.now then package.loaded.task = setmetatable({ now = function() return options.now[1] end }, { __index = was.task }) end
  return require "kubeadm.credentials", said, deleted
end

local CLUSTER = { host = { address = "192.0.2.1", user = "root" } }

test("what lets nodes join is made when one does, and gone when the last has", function(t)
  local credentials, said, deleted = with_control_plane(t)
  local ctx = { progress = function() end }
  t.eq(#said, 0)
  do
    local first <close> = credentials.joining(ctx, CLUSTER)
    t.eq(credentials.token(ctx, CLUSTER), "abcde1.0123456789abcdef")
    do
      local second <close> = credentials.joining(ctx, CLUSTER)
      t.eq(credentials.token(ctx, CLUSTER), "abcde1.0123456789abcdef", "those that join at a time share it")
      credentials.certificate_key(ctx, CLUSTER)
      credentials.forget(CLUSTER)
      t.eq(credentials.token(ctx, CLUSTER), "abcde1.0123456789abcdef", "credentials that are renewed leave it alone")
    end
    t.eq(deleted, {}, "one is still joining")
  end
  t.eq(deleted, { "bootstrap-token-abcde1", "bootstrap-token-owner0", "kubeadm-certs" })
  do
    local third <close> = credentials.joining(ctx, CLUSTER)
    t.eq(credentials.token(ctx, CLUSTER), "abcde2.0123456789abcdef", "the next gets another")
  end
  t.eq(deleted[4], "bootstrap-token-abcde2")
  t.eq(#deleted, 4, "no certificates were uploaded for it")
end)

test("a join that fails leaves no token either, and one that cannot be taken back is told", function(t)
  local credentials, _, deleted = with_control_plane(t)
  local ctx = { progress = function() end }
  t.eq(pcall(function()
    local one <close> = credentials.joining(ctx, CLUSTER)
    credentials.token(ctx, CLUSTER)
    error "it failed"
  end), false)
  t.eq(deleted, { "bootstrap-token-abcde1" })
  credentials = with_control_plane(t, { fails = true })
  local progress = {}
  ctx = { progress = function(_, text) progress[#progress + 1] = text end }
  do
    local one <close> = credentials.joining(ctx, CLUSTER)
    credentials.token(ctx, CLUSTER)
  end
  t.eq(#progress, 1)
  t.has(progress[1], "expires by itself")
  t.has(progress[1], "the API does not answer")
end)

test("a token that is handed out lives longer than a join may take; after a long wait it is another one", function(t)
  local now = { 1000 }
  local credentials, said = with_control_plane(t, { now = now })
  local ctx = { progress = function() end }
  local one <close> = credentials.joining(ctx, CLUSTER)
  local first = credentials.token(ctx, CLUSTER)
  local life = tonumber(said[1]:match "%-%-ttl (%d+)m") * 60
  local last -- when the first was handed out for the last time
  for second = 0, life, 10 do
    now[1] = 1000 + second
    if credentials.token(ctx, CLUSTER) ~= first then break end
    last = second
  end
  t.ok(last < life, "it is renewed in time")
  t.ok(life - last >= credentials.PATIENCE, ("%d s are left for %d"):format(life - last, credentials.PATIENCE))
end)

-- The emulator.

local function read(list) return Encryption.read(keys.encode(list)) end

test("an emulated API server reads what it has the key for, under its name", function(t)
  local old, both, new = read { key "a" }, read { key "b", key "a" }, read { key "b" }
  t.eq({ old:covers "/secrets", old:covers "/configmaps" }, { true, false })
  t.eq(old:seal "/configmaps", "")
  t.ok(both:reads("/secrets", old:seal "/secrets"))
  t.ok(both:reads("/secrets", new:seal "/secrets"))
  t.eq(both:seal "/secrets", new:seal "/secrets")
  t.eq({ new:reads("/secrets", old:seal "/secrets") }, { false, "no matching key was found for the provided Secretbox transformer" })
  t.ok(new:reads("/secrets", ""), "identity reads what is not encrypted")
  t.eq({ Encryption.read(nil):reads("/secrets", old:seal "/secrets") }, { false, "no matching prefix found" })
  local renamed = read { { name = "other", secret = key("a").secret } }
  t.eq({ renamed:reads("/secrets", old:seal "/secrets") }, { false, "no matching key was found for the provided Secretbox transformer" })
end)

test("an emulated API server does not start with what is no key", function(t)
  local function why(list) return select(2, read(list)) end
  t.has(why { { name = "a", secret = "dGlueQ==" } }, "keys[0].secret: Invalid value: \"REDACTED\": secret is not of the expected length, got 4, expected one of [32]")
  t.has(why { { name = "", secret = key("a").secret } }, "keys[0].name: Required value")
  t.has(why {}, "at least one key is required")
end)

-- An emulated cluster of one whose API server writes Secrets with a key, and a client of it.
local function cluster(t)
  local l = lab.new { net = 81 + process.pid() % 9, factor = 600 }
  t.after(l.close)
  local m = l.machine("cp-1", { cni = true })
  m:file("/etc/hosts", "127.0.0.1 localhost api.demo.internal\n")
  m:file("/etc/kubernetes/encryption.yaml", keys.encode { key "a" })
  m:file("/etc/kubeadm.yaml", yaml.encode_all(config.init { version = "1.36.1", node_name = "cp-1", address = m.private_ip,
    endpoint = "api.demo.internal", port = 6443, cluster_name = "kubernetes", pods = "10.244.0.0/16", services = "10.96.0.0/12",
    domain = "cluster.local", encryption = true }))
  local result = m:run("kubeadm", "init", "--config", "/etc/kubeadm.yaml")
  t.eq(result.code, 0, result.err .. result.out)
  local _, made = next(l.world.kubernetes.clusters)
  return l, m, made, client.new(require("kubernetes.kubeconfig").parts(lab.kubeconfig(m)))
end

test("what an emulated cluster has encrypted stays so, when it is marked for deletion and in a snapshot", function(t)
  local l, m, made, api = cluster(t)
  local seal = read { key "a" }:seal "/secrets"
  local kept = { apiVersion = "v1", kind = "Secret", metadata = { name = "kept", namespace = "default", finalizers = json.array { "x.io/y" } } }
  api:create(kept)
  t.eq(made.store:seal("/secrets", "default", "kept"), seal)
  api:delete(kept)
  t.ok(api:get("v1", "Secret", "default", "kept").metadata.deletionTimestamp, "it waits for its finalizer")
  t.eq(made.store:seal("/secrets", "default", "kept"), seal, "and is encrypted still")

  local etcd = m:run("crictl", "ps", "--name", "^etcd$", "-q").out:match "%S+"
  local pki = "/etc/kubernetes/pki/etcd/"
  local saved = m:run("crictl", "exec", etcd, "etcdctl", "--cacert=" .. pki .. "ca.crt", "--cert=" .. pki .. "server.crt",
    "--key=" .. pki .. "server.key", "snapshot", "save", "/var/lib/etcd/s.db")
  t.eq(saved.code, 0, saved.err)
  local restored = m:run("ctr", "-n", "k8s.io", "run", "--rm", "--mount", "type=bind,src=/var/lib,dst=/data,options=rbind:rw", "registry.k8s.io/etcd:3.6.8-0",
    "restore", "etcdutl", "snapshot", "restore", "/data/etcd/s.db", "--data-dir", "/data/again", "--name", "cp-1",
    "--initial-advertise-peer-urls", "https://10.0.0.4:2380")
  t.eq(restored.code, 0, restored.err)
  local others = 0
  for id, other in pairs(l.world.kubernetes.clusters) do
    others = others + (id ~= made.id and 1 or 0)
    t.eq(other.store:seal("/secrets", "default", "kept"), seal, "the restored one needs the key, too")
    t.eq(other.store:seal("/configmaps", "kube-system", "kubeadm-config"), "")
  end
  t.eq(others, 1)
end)

test.done()
