--- Certificates in PEM that recipes put on hosts: what can be told of them before anything runs.
local crypto = require "crypto"
local clock = require "task"

local M = {}

local BLOCK = "%-%-%-%-%-BEGIN CERTIFICATE%-%-%-%-%-\n[%w+/=\n]+\n%-%-%-%-%-END CERTIFICATE%-%-%-%-%-"

--- The certificates of a text, each without what stands around it.
function M.certificates(text)
  local list = {}
  for block in text:gsub("\r", ""):gmatch(BLOCK) do
    list[#list + 1] = block .. "\n"
  end
  return list
end

--- What a certificate says (crypto.x509_read); an error when it cannot be read or its time is over. what: whose it is.
function M.valid(cert, what)
  local told, message = crypto.x509_read(cert)
  if not told then error(("%s: the certificate cannot be read: %s"):format(what, message), 0) end
  if told.not_after < clock.time() then
    error(("%s: the certificate of %s expired on %s"):format(what, told.cn or "?", os.date("!%Y-%m-%d", told.not_after)), 0)
  end
  return told
end

--- Raises an error unless a private key is the certificate's. told: what M.valid said.
function M.match(told, key, what)
  local request = crypto.x509_csr { cn = "key", key = key }
  local made = request and crypto.x509_read(request)
  if not made then error(what .. ": 'key' is no private key in PEM", 0) end
  if made.spki_sha256 ~= told.spki_sha256 then
    error(("%s: 'key' is not the key of the certificate of %s"):format(what, told.cn or "?"), 0)
  end
end

return M
