--- What an API server's --encryption-provider-config says: which resources are encrypted in etcd, with which key they are
-- written, and which it can read. Nothing is encrypted here; of each object the store knows by what it was written (its seal).
local crypto, yaml = require "crypto", require "yaml"

local Encryption = {}
Encryption.__index = Encryption

-- Providers with keys of their own: their sizes in bytes, and what they say of a key that is not theirs.
local KEYED = {
  secretbox = { sizes = { 32 }, word = "Secretbox" }, aescbc = { sizes = { 16, 24, 32 }, word = "AES" },
  aesgcm = { sizes = { 16, 24, 32 }, word = "AES" },
}

local function sized(provider, bytes)
  for _, size in ipairs(KEYED[provider].sizes) do if bytes and #bytes == size then return true end end
  return false
end

-- The seals of a provider, or nil and what is wrong with it. "" is the seal of what is not encrypted.
local function seals_of(entry, path)
  local name, settings = next(entry)
  if name == "identity" then return { "" } end
  if not KEYED[name] then return nil, ("%s: unsupported provider in the emulator: %s"):format(path, tostring(name)) end
  local list = {}
  for i, key in ipairs(type(settings) == "table" and settings.keys or {}) do
    local at = ("%s.%s.keys[%d]"):format(path, name, i - 1)
    if not key.name or key.name == "" then return nil, at .. ".name: Required value: key must have a name" end
    local bytes = crypto.unbase64(key.secret or "")
    if not bytes then return nil, at .. ".secret: Invalid value: \"REDACTED\": secrets must be base64 encoded" end
    if not sized(name, bytes) then
      local words = "%s.secret: Invalid value: \"REDACTED\": secret is not of the expected length, got %d, expected one of [%s]"
      return nil, words:format(at, #bytes, table.concat(KEYED[name].sizes, " "))
    end
    list[i] = ("k8s:enc:%s:v1:%s:%s"):format(name, key.name, crypto.sha256(bytes))
  end
  if #list == 0 then return nil, ("%s.%s.keys: Required value: at least one key is required"):format(path, name) end
  return list
end

--- Reads a configuration's text; nil for none. Returns it, or nil and why the API server does not start.
function Encryption.read(text)
  local self = setmetatable({ resources = {} }, Encryption)
  if not text then return self end
  local document = yaml.decode(text)
  for i, group in ipairs(document.resources or {}) do
    local seals = {}
    for j, entry in ipairs(group.providers or {}) do
      local more, why = seals_of(entry, ("resources[%d].providers[%d]"):format(i - 1, j - 1))
      if not more then return nil, why end
      for _, seal in ipairs(more) do
        seals[#seals + 1] = seal
        seals[seal] = true
      end
    end
    if #seals == 0 then
      return nil, ("resources[%d].providers: Required value: at least one provider is required"):format(i - 1)
    end
    for _, name in ipairs(group.resources or {}) do self.resources[name] = self.resources[name] or seals end
  end
  return self
end

local PLAIN = { "", [""] = true }

local function seals_for(self, key)
  local group, plural = key:match("^(.*)/(.+)$")
  return self.resources[group == "" and plural or plural .. "." .. group] or PLAIN
end

--- Does the configuration have to do with a kind?
function Encryption:covers(key) return seals_for(self, key) ~= PLAIN end

--- What an object of a kind is written by.
function Encryption:seal(key) return seals_for(self, key)[1] end

--- Whether an object with a seal can be read; else the words of why not.
function Encryption:reads(key, seal)
  local seals = seals_for(self, key)
  if seals[seal] then return true end
  local provider = seal:match("^k8s:enc:(%w+):")
  for _, other in ipairs(seals) do
    if provider and other:match("^k8s:enc:(%w+):") == provider then
      return false, ("no matching key was found for the provided %s transformer"):format(KEYED[provider].word)
    end
  end
  return false, "no matching prefix found"
end

return Encryption
