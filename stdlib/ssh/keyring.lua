--- The private keys of a run: each is read, and its passphrase asked for, once.
local crypto, fail, fs, log = require "crypto", require "fail", require "fs", require "log"
local secret, ssh = require "secret", require "ssh"

local M = {}

local TRIES = 3
local one_prompt = require "ssh.turns"(1)
local opening = require "together"()
local opened = {} -- text, passphrase -> key

local function refused(what, message, code, hint)
  if code == "passphrase" then hint = "give `passphrase` (a secret), or add the key to an ssh-agent and say agent = true" end
  error(fail { (what and what .. ": " or "") .. message, code = code == "passphrase" and code or "key", hint = hint })
end

local function unlock(text, what)
  local name = crypto.public_key(text)
  name = what or name and ssh.key_name(crypto.unbase64(name:match("^%S+ (%S+)"))) or "the private key"
  local mine <close> = one_prompt()
  for try = 1, TRIES do
    local passphrase = secret.ask(("%spassphrase of %s"):format(try > 1 and "not right; " or "", name))
    if not passphrase then return nil end
    log.mask(passphrase)
    local key, message, code = ssh.key(text, passphrase)
    if key then return key end
    if code ~= "passphrase" then refused(what, message, code) end
  end
end

local function open(text, passphrase, what)
  local key, message, code, hint = ssh.key(text, passphrase)
  if not key and code == "passphrase" and not passphrase then key = unlock(text, what) end
  return key or refused(what, message, code, hint)
end

--- The key of a text. Where it is encrypted and no passphrase was given, a person at the terminal is asked.
-- Raises a failure of code "key" or "passphrase".
-- @param what where the text is from, for messages
function M.open(text, passphrase, what)
  local name = text .. "\0" .. (passphrase or "")
  opened[name] = opened[name] or opening(name, open, text, passphrase, what)
  return opened[name]
end

--- The key of a text that needs no passphrase; nil when it needs one (or was opened before), or is no usable key.
function M.open_silently(text)
  return opened[text .. "\0"] or (ssh.key(text))
end

--- The text of a key's file. Raises a failure of code "key".
function M.read(path)
  local text, message = fs.read(path)
  if not text then error(fail { message, code = "key" }) end
  local found = fs.stat(path, { follow = true })
  if found.mode & 63 ~= 0 and text:find("PRIVATE KEY", 1, true) then
    error(fail { ("%s can be read by others (mode %03o)"):format(path, found.mode & 511), code = "key",
      hint = "chmod 600 " .. path })
  end
  log.mask(text)
  return text
end

--- Whether a key's text stands for one in a security device.
function M.is_hardware(text)
  local line = crypto.public_key(text)
  return line ~= nil and line:find("^sk%-") ~= nil
end

--- The public half of a key's file as it is on the wire, without its passphrase; nil when nothing tells it.
function M.blob_of(path, text)
  local line = text:find("PRIVATE KEY", 1, true) and (fs.read(path .. ".pub") or crypto.public_key(text)) or text
  local word = line and line:match("^%s*[%w@.-]+%s+([%w+/=]+)")
  return word and crypto.unbase64(word) or nil
end

return M
