-- The file of a backup: what was put in comes out, and nothing else ever does.
local test = require "tap"
local archive, crypto, fs = require "kubeadm.archive", require "crypto", require "fs"

local CHEAP = { n = 16, r = 1, p = 1 }
local PIECE = 65536

local function folder(t)
  local dir = assert(fs.mktemp "vmrun-backup-")
  t.after(function() fs.remove(dir, { recursive = true }) end)
  return dir
end

-- Bytes that do not repeat, the same each time.
local function bytes(count, seed)
  local parts, size, i = {}, 0, 0
  while size < count do
    parts[#parts + 1] = crypto.unhex(crypto.sha256(seed .. i))
    size, i = size + 32, i + 1
  end
  return table.concat(parts):sub(1, count)
end

local function write(path, sizes, step, key)
  local files, contents = {}, {}
  for i, size in ipairs(sizes) do
    contents[i] = bytes(size, "f" .. i)
    files[i] = { name = "f" .. i, size = size, sha256 = crypto.sha256(contents[i]) }
  end
  archive.write(path, key or "a key", { files = files }, function(put)
    local all = table.concat(contents)
    for at = 1, #all, step do put(all:sub(at, at + step - 1)) end
  end, CHEAP)
  return contents
end

local function read(path, key)
  local found = {}
  local reader = archive.open(path, key or "a key")
  reader:each(function(file, pieces)
    local parts = {}
    for piece in pieces do parts[#parts + 1] = piece end
    found[#found + 1] = table.concat(parts)
    assert(#found[#found] == file.size)
  end)
  return found
end

local function refused(t, path, words, key)
  local ok, why = pcall(read, path, key)
  if ok then return t.fail("it was taken: " .. words) end
  t.eq(why.code, "backup")
  if not tostring(why.message):find(words, 1, true) then t.fail(("'%s' is not in '%s'"):format(words, why.message)) end
end

-- How much of a piece the manifest's line takes, so that contents can be made to end at a piece's edge.
local function overhead(dir, sizes)
  write(dir .. "/probe", sizes, 1000)
  local whole = fs.read(dir .. "/probe")
  local header = #whole:match("^[^\n]*\n[^\n]*\n")
  local pieces = math.max(1, (#whole - header + PIECE + 15) // (PIECE + 16))
  local total = 0
  for _, size in ipairs(sizes) do total = total + size end
  return #whole - header - pieces * 16 - total, header
end

test("what was put in comes out, whatever the sizes and the steps", function(t)
  local dir = folder(t)
  math.randomseed(7)
  local cases = { {}, { 0 }, { 1 }, { 0, 0, 5 }, { PIECE }, { 2 * PIECE }, { 3 * PIECE + 1, 17 } }
  local edge = overhead(dir, { PIECE })
  for _, delta in ipairs { -1, 0, 1 } do cases[#cases + 1] = { PIECE - edge + delta } end
  for _ = 1, 25 do
    local sizes = {}
    for i = 1, math.random(1, 5) do sizes[i] = math.random(0, 3) == 0 and math.random(0, 200000) or math.random(0, 3000) end
    cases[#cases + 1] = sizes
  end
  for _, sizes in ipairs(cases) do
    local contents = write(dir .. "/b", sizes, ({ 1000, 32768, PIECE, 500000 })[math.random(1, 4)])
    t.eq(table.concat(read(dir .. "/b"), "|") == table.concat(contents, "|"), true)
  end
  t.eq(fs.stat(dir .. "/b").mode, 384)
  t.eq(#fs.list(dir), 2)
end)

test("a bit that is another is noticed wherever it is", function(t)
  local dir = folder(t)
  write(dir .. "/b", { 100, 90000 }, 5000)
  local whole = fs.read(dir .. "/b")
  local header = #whole:match("^[^\n]*\n[^\n]*\n")
  local function flipped(at, bit)
    return whole:sub(1, at - 1) .. string.char(whole:byte(at) ~ (1 << bit)) .. whole:sub(at + 1)
  end
  local function try(at, bit)
    fs.write(dir .. "/x", flipped(at, bit))
    local ok, why = pcall(archive.verify, dir .. "/x", "a key")
    if ok then t.fail(("bit %d of byte %d made no difference"):format(bit, at)) return end
    if why.code ~= "backup" and why.code ~= "value" then t.fail(tostring(why)) end
  end
  for at = 1, header do
    for bit = 0, 7 do try(at, bit) end
  end
  math.randomseed(11)
  for _ = 1, 300 do try(math.random(header + 1, #whole), math.random(0, 7)) end
  for _, at in ipairs { header + 1, header + PIECE, header + PIECE + 16, header + PIECE + 17, #whole } do try(at, 0) end
end)

test("an end that is missing is noticed wherever it was cut, also between pieces", function(t)
  local dir = folder(t)
  write(dir .. "/b", { 5, 4 * PIECE }, 30000)
  local whole = fs.read(dir .. "/b")
  local header = #whole:match("^[^\n]*\n[^\n]*\n")
  for at = header, #whole - 1, PIECE + 16 do
    for _, cut in ipairs { at, at + 1, at + 15, at + 16, at + 17, at + PIECE } do
      if cut < #whole then
        fs.write(dir .. "/x", whole:sub(1, cut))
        refused(t, dir .. "/x", cut == at and at > header and "its end is missing" or "truncated")
      end
    end
  end
  for _, cut in ipairs { 0, 3, 15, 40, header - 1 } do
    fs.write(dir .. "/x", whole:sub(1, cut))
    t.eq(pcall(archive.verify, dir .. "/x", "a key"), false)
  end
  fs.write(dir .. "/x", whole .. "x")
  refused(t, dir .. "/x", "damaged")
end)

test("pieces stay in their places, and in their file", function(t)
  local dir = folder(t)
  write(dir .. "/b", { 4 * PIECE }, 30000)
  local whole = fs.read(dir .. "/b")
  local header = #whole:match("^[^\n]*\n[^\n]*\n")
  local function piece(i) return whole:sub(header + (i - 1) * (PIECE + 16) + 1, header + i * (PIECE + 16)) end
  fs.write(dir .. "/x", whole:sub(1, header) .. piece(1) .. piece(3) .. piece(2) .. piece(4) .. piece(5))
  refused(t, dir .. "/x", "damaged")
  fs.write(dir .. "/x", whole:sub(1, header) .. piece(1) .. piece(3) .. piece(4) .. piece(5))
  refused(t, dir .. "/x", "damaged")
  write(dir .. "/other", { 4 * PIECE }, 30000)
  local other = fs.read(dir .. "/other")
  fs.write(dir .. "/x", other:sub(1, header) .. whole:sub(header + 1))
  refused(t, dir .. "/x", "damaged")
  t.eq(whole:sub(header + 1, header + 50) ~= other:sub(header + 1, header + 50), true)
end)

test("another key, another file, no file", function(t)
  local dir = folder(t)
  write(dir .. "/b", { 10 }, 10)
  refused(t, dir .. "/b", "the key does not fit", "A key")
  refused(t, dir .. "/b", "the key does not fit", "a key ")
  fs.write(dir .. "/x", "PK\3\4 something else that is long enough")
  refused(t, dir .. "/x", "this is no backup of vmrun")
  local ok, why = pcall(archive.verify, dir .. "/none", "a key")
  t.eq(ok, false)
  t.eq(why.code, "not_found")
  fs.write(dir .. "/x", 'vmrun backup 1\n{"check":"","salt":"","scrypt":{"n":1073741824,"p":1,"r":8}}\nxxxxxxxxxxxxxxxxxxx')
  refused(t, dir .. "/x", "damaged or truncated in its first lines")
end)

test("a file has as much as its manifest says", function(t)
  local dir = folder(t)
  for put, words in pairs { [""] = "truncated within f", ["four"] = "truncated within f", ["six bytes"] = "more in it than its manifest says" } do
    archive.write(dir .. "/b", "a key", { files = { { name = "f", size = 5, sha256 = "" } } }, function(into) into(put) end, CHEAP)
    refused(t, dir .. "/b", words)
  end
end)

test("a backup that cannot be written to its end has no name", function(t)
  local dir = folder(t)
  local ok, why = pcall(archive.write, dir .. "/b", "a key", { files = { { name = "f", size = 9, sha256 = "" } } }, function(put)
    put(bytes(200000, "x"))
    error("the host went away", 0)
  end, CHEAP)
  t.eq(ok, false)
  t.eq(why, "the host went away")
  t.eq(#fs.list(dir), 0)
end)

test("seal and open are AES-256-GCM, scrypt is RFC 7914's", function(t)
  -- From the GCM specification (test case 16) and RFC 7914, section 12.
  local key = crypto.unhex "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308"
  local text = crypto.unhex("d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39")
  local bound, nonce = crypto.unhex "feedfacedeadbeeffeedfacedeadbeefabaddad2", crypto.unhex "cafebabefacedbaddecaf888"
  local sealed = crypto.seal(key, nonce, text, bound)
  t.eq(crypto.hex(sealed:sub(-16)), "76fc6ece0f4e1768cddf8853bb2d551b")
  t.eq(crypto.open(key, nonce, sealed, bound), text)
  t.eq((crypto.open(key, nonce, sealed, "")), nil)
  t.eq(crypto.hex(crypto.scrypt("password", "NaCl", { n = 1024, r = 8, p = 16, count = 64 })),
    "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b3731622eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640")
  t.eq((crypto.scrypt("a", "b", { n = 1000, r = 8, p = 1 })), nil)
  -- On this very thread, since it cannot wait in there: libcrypto's reason is not left for who fails next.
  t.has(t.err("value", coroutine.wrap(crypto.scrypt)("a", "b", { n = 1 << 24, r = 8, p = 1 })), "scrypt cannot work with n=16777216")
  local _, why = crypto.x509_read "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
  t.ok(not why:find("memory limit", 1, true), why)
end)

-- What a plan says.

local function looked(path, changes)
  local fields = { file = path, key = "a key", endpoint = "api.test", version = "1.36.1" }
  for name, value in pairs(changes or {}) do fields[name] = value or nil end
  return require("kubeadm.backup").read({ fields = fields }).outputs
end

local function backup_of(path, version, endpoint)
  archive.write(path, "a key", { files = {}, kubernetes = version, created = "2026-01-02T03:04:05Z",
    cluster = { endpoint = endpoint or "api.test" } }, function() end, CHEAP)
end

test("what a backup is of decides whether it is restored", function(t)
  local path = folder(t) .. "/b"
  for version, words in pairs { ["1.36.1"] = "", ["1.36.0"] = "", ["1.35.9"] = "", ["1.36.2"] = "newer than version = 1.36.1",
    ["1.37.0"] = "newer than", ["1.34.9"] = "more than one minor release older", ["0.36.0"] = "more than one minor", ["soon"] = "does not say" } do
    backup_of(path, version)
    local told = looked(path)
    t.ok((told.problem or ""):find(words, 1, true) and (words ~= "") == (told.problem ~= nil), version .. ": " .. tostring(told.problem))
    t.eq(told.kubernetes, version)
  end
  backup_of(path, "1.36.1", "api.other")
  t.eq(looked(path).problem, "it is of the cluster api.other, not of api.test")
  backup_of(path, "1.36.1")
  t.eq(looked(path, { version = "v1.36.1" }).problem, nil)
  t.ok(looked(path, { key = "another" }).problem:find("^the key does not fit"))
  t.eq(looked(path, { key = false }).problem, "there is no key for it")
  t.eq(next(looked(path, { file = false })), nil)
end)

-- A cluster of two control planes, of which a plan replaces some.
local function judged(t, restore, replaced, api)
  local connect, guard = require "kubernetes.connect", require "kubeadm.guard"
  local was = connect.opened
  t.after(function() connect.opened = was connect.lose("api.test", false) end)
  connect.opened = function() return api end
  local state = { { address = "kubeadm.init.c", kind = "kubeadm.init", fields = { node_name = "a", endpoint = "api.test" } },
    { address = "kubeadm.join.b", kind = "kubeadm.join", fields = { node_name = "b", control_plane = true, cluster = { ["$ref"] = "kubeadm.init.c" } } } }
  local rows = {}
  for address, action in pairs(replaced) do
    rows[#rows + 1] = { address = address, kind = address:match("^(.*)%."), action = action, changes = {},
      fields = { restore = address == "kubeadm.init.c" and restore or nil, name = address:match("%.(%w+)$") } }
  end
  local words = {}
  for i, one in ipairs(guard.run { resources = rows, state = state }) do words[i] = one.level .. " " .. one.message end
  return table.concat(words, "\n"), connect.is_lost { endpoint = "api.test" }
end

test("a backup takes the place of a cluster of which nothing is left, and of no other", function(t)
  local good = { file = "/b", created = "today", kubernetes = "1.36.1" }
  local all = { ["kubeadm.init.c"] = "replace", ["kubeadm.join.b"] = "replace" }
  local words, lost = judged(t, good, all)
  t.eq(words, "note the cluster is made of the backup /b, of today, Kubernetes 1.36.1")
  t.eq(lost, true)
  words, lost = judged(t, good, { ["kubeadm.init.c"] = "replace" })
  t.ok(words:find("deny a backup would take the place of a cluster of which control planes are left", 1, true))
  t.eq(lost, false)
  words, lost = judged(t, good, { ["kubeadm.init.c"] = "replace", ["kubeadm.join.b"] = "replace", ["azure.virtual_machine.b"] = "replace" })
  t.ok(words:find("control planes are left", 1, true), "a machine that is there is no lost one: " .. words)
  t.eq(lost, false)
  words = judged(t, nil, all)
  t.ok(words:find("^deny a new, empty cluster would take the place"), words)
  words = judged(t, { file = "/b", problem = "it is damaged", hint = "another" }, { ["kubeadm.init.c"] = "create" })
  t.eq(words, "deny /b cannot be restored: it is damaged")
end)

test.done()
