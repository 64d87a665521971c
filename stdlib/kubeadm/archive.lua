--- The file of a backup: encrypted by a passphrase, authenticated to its last byte, written and read piece by piece.
--
--     vmrun backup 1
--     {"check": ..., "salt": ..., "scrypt": {"n": ..., "p": ..., "r": ...}}
--     sealed pieces of PIECE bytes, the last of them shorter
--
-- scrypt makes 64 bytes of the passphrase: a key for AES-256-GCM, and one whose HMAC of the salt is `check`, by which a wrong key is
-- told from a damaged file. The nonce of a piece is its number, and a byte that is 1 for the last: what was cut off, moved or
-- repeated does not open. Both lines in front are bound to each piece. Inside stands the manifest, a line of JSON, and behind it
-- the content of its `files` in their order.
local crypto, fail, fs, json, task = require "crypto", require "fail", require "fs", require "json", require "task"

local M = {}

local MAGIC = "vmrun backup 1\n"
local PIECE, TAG, LONGEST_HEADER = 65536, 16, 1024
local COST = { n = 65536, r = 8, p = 2 } -- 64 MiB, a few tenths of a second
local MOST = { n = 1 << 20, r = 16, p = 16 } -- of a file that somebody hands us

local function damaged(path, what, hint)
  error(fail { ("%s: %s"):format(path, what), code = "backup", hint = hint or "take another copy of the backup" })
end

local function keys_of(passphrase, salt, cost)
  local bytes = fail.check(crypto.scrypt(passphrase, salt, { n = cost.n, r = cost.r, p = cost.p, count = 64 }))
  return bytes:sub(1, 32), bytes:sub(33)
end

local function nonce(number, last) return "\0\0\0" .. (">I8B"):pack(number, last and 1 or 0) end

local function check_of(key, salt) return crypto.hmac_sha256(key, "check\0" .. salt):sub(1, 32) end

-- Writing.

local Writer = {}
Writer.__index = Writer

function Writer:piece(text, last)
  fail.check(fs.write(self.part, crypto.seal(self.key, nonce(self.number, last), text, self.bound), { append = true }))
  self.number = self.number + 1
  task.sleep(0) -- others have their turn
end

--- Adds bytes.
function Writer:put(data)
  self.held = self.held .. data
  while #self.held > PIECE do
    self:piece(self.held:sub(1, PIECE), false)
    self.held = self.held:sub(PIECE + 1)
  end
end

--- Writes a backup: manifest (a table with `files`, a list of { name =, size =, sha256 = }), and what fill(put) puts: the
-- content of these files, one after the other. The file has its name when all of it is on the disk, and none of it before.
function M.write(path, passphrase, manifest, fill, cost)
  local salt = crypto.random(32)
  cost = cost or COST
  local key, other = keys_of(passphrase, salt, cost)
  local bound = MAGIC .. json.encode { scrypt = { n = cost.n, r = cost.r, p = cost.p }, salt = crypto.base64(salt),
    check = check_of(other, salt) } .. "\n"
  local self = setmetatable({ key = key, bound = bound, number = 0, held = "",
    part = ("%s.vmrun-%s"):format(path, crypto.hex(crypto.random(4))) }, Writer)
  local tidy <close> = setmetatable({}, { __close = function() fs.remove(self.part) end })
  fail.check(fs.write(self.part, bound, { mode = 384, atomic = false })) -- 0600
  self:put(json.encode(manifest) .. "\n")
  fill(function(data) self:put(data) end)
  self:piece(self.held, true)
  fail.check(fs.write(self.part, "", { append = true, sync = true }))
  fail.check(fs.rename(self.part, path))
end

-- Reading.

local Reader = {}
Reader.__index = Reader

-- The next piece; nil behind the last.
function Reader:piece()
  if self.at >= self.size then return nil end
  local sealed = fail.check(fs.read(self.path, { at = self.at, count = PIECE + TAG }))
  local last = self.at + #sealed >= self.size
  local text = crypto.open(self.key, nonce(self.number, last), sealed, self.bound)
  if not text and last and crypto.open(self.key, nonce(self.number, false), sealed, self.bound) then
    damaged(self.path, "the backup is truncated: its end is missing")
  end
  if not text then
    damaged(self.path, ("the backup is damaged or truncated in the %d bytes from %d on"):format(#sealed, self.at))
  end
  self.at, self.number = self.at + #sealed, self.number + 1
  task.sleep(0)
  return text
end

-- At most `count` of the bytes that come; nil at the end.
function Reader:take(count)
  if self.held == "" then self.held = self:piece() or "" end
  if self.held == "" then return nil end
  local text = self.held:sub(1, count)
  self.held = self.held:sub(#text + 1)
  return text
end

--- Calls visit(file, pieces) for each file of the manifest: pieces() gives its content piece by piece, and nil. What a visit
-- leaves is skipped. When this returns, the whole backup was read and found as it was written.
function Reader:each(visit)
  for _, file in ipairs(self.manifest.files) do
    local left = file.size
    local function pieces()
      if left == 0 then return nil end
      local text = self:take(left) or damaged(self.path, ("the backup is truncated within %s"):format(file.name))
      left = left - #text
      return text
    end
    if visit then visit(file, pieces) end
    while pieces() do end
  end
  if self:take(1) then damaged(self.path, "the backup has more in it than its manifest says") end
end

local function number_within(value, most) return math.type(value) == "integer" and value >= 1 and value <= most end

local function header_of(path)
  local head = fail.check(fs.read(path, { count = LONGEST_HEADER }))
  if head:sub(1, #MAGIC) ~= MAGIC then
    damaged(path, #head < #MAGIC and "the file ends before it begins to be a backup" or "this is no backup of vmrun (or its first bytes are damaged)",
      "give a file that `vmrun backup` wrote")
  end
  local line = head:match("^([^\n]*)\n", #MAGIC + 1)
  local told = line and json.decode(line)
  local cost = type(told) == "table" and told.scrypt
  local salt = type(told) == "table" and type(told.salt) == "string" and crypto.unbase64(told.salt)
  if type(cost) ~= "table" or not salt or type(told.check) ~= "string" or not number_within(cost.n, MOST.n)
    or not number_within(cost.r, MOST.r) or not number_within(cost.p, MOST.p) then
    damaged(path, "the backup is damaged or truncated in its first lines")
  end
  return MAGIC .. line .. "\n", cost, salt, told.check
end

local function is_file(file) return type(file) == "table" and type(file.name) == "string" and math.type(file.size) == "integer" end

--- Opens a backup: a reader with `manifest`.
function M.open(path, passphrase)
  local bound, cost, salt, check = header_of(path)
  local key, other = keys_of(passphrase, salt, cost)
  if check_of(other, salt) ~= check then
    damaged(path, "the key does not fit: it is not the one that this backup was made with",
      "give the key of this backup; where it is the right one, the file's first lines are damaged")
  end
  local self = setmetatable({ path = path, key = key, bound = bound, at = #bound, number = 0, held = "",
    size = fail.check(fs.stat(path, { follow = true })).size }, Reader)
  if self.size <= self.at then damaged(path, "the backup is truncated: nothing stands behind its first lines") end
  local line = ""
  repeat
    local text = self:take(PIECE) or damaged(path, "the backup ends within its manifest")
    line = line .. text
  until text:find("\n", 1, true)
  local rest
  line, rest = line:match("^([^\n]*)\n(.*)$")
  self.held = rest .. self.held
  self.manifest = json.decode(line)
  local files = type(self.manifest) == "table" and self.manifest.files
  if type(files) ~= "table" then damaged(path, "the backup's manifest cannot be read", "use the release of vmrun that made it") end
  for _, file in ipairs(files) do
    if not is_file(file) then damaged(path, "the backup's manifest cannot be read", "use the release of vmrun that made it") end
  end
  return self
end

--- Reads all of a backup and finds it as it was written, or fails; its manifest.
function M.verify(path, passphrase)
  local reader = M.open(path, passphrase)
  reader:each()
  return reader.manifest
end

return M
