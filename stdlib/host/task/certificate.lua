--- A certificate with its key and the chain above it.
local crypto, field, task = require "crypto", require "field", require "host.task"
local pem = require "host.pem"

-- Says what differs of one of the files; the key's content is never told.
local SHARED = [[fits() { # KEY PATH DIGEST MODE OWNER
  [ -f "$2" ] && [ ! -L "$2" ] || { r=1; return; }
  look "$2"
  digest "$2"; [ "$sum" = "$3" ] || { r=1; if [ "$1" = key ]; then oldis key '(secret)'; else oldfile "$1" "$2"; fi; }
  [ "$mode" = "$4" ] || { r=1; oldis "$1_mode" "$mode"; }
  [ "$owner" = "$5" ] || [ "$ids" = "$5" ] || { r=1; oldis "$1_owner" "$owner"; }
}]]

local function each_file(t, text)
  local lines = {}
  for _, what in ipairs { "key", "chain", "certificate" } do
    if t[what .. "_path"] then lines[#lines + 1] = (text:gsub("WHAT", what)) end
  end
  return table.concat(lines, "\n")
end

return task "certificate" {
  doc = "A certificate with its private key, which must fit, and the chain above it.", key = "certificate_path",
  fields = {
    certificate = field.string { doc = "PEM." },
    key = field.secret { doc = "The private key, PEM." },
    chain = field.string { doc = "The authorities between it and a trusted one, nearest first, PEM." },
    certificate_path = field.string { required = true, match = "^/" },
    key_path = field.string { required = true, match = "^/" },
    chain_path = field.string { match = "^/", doc = "Unless given, the chain stands behind the certificate in its file." },
    owner = field.string { default = "root:root", match = "^[%w_.-]+:[%w_.-]+$", doc = "`user:group` of the files." },
    key_mode = field.string { default = "0600", match = "^0?[0-7][0-7]0$", doc = "Nothing is for everybody." },
    state = field.choice { "present", "absent", default = "present" },
  },
  prepare = function(t, name)
    if t.state == "absent" then return end
    local what = ("certificate \"%s\""):format(name)
    local list, chain = pem.certificates(t.certificate or ""), pem.certificates(t.chain or "")
    if #list == 0 then error(what .. ": 'certificate' wants a certificate in PEM", 0) end
    if not t.key then error(what .. ": needs 'key'", 0) end
    for i, cert in ipairs(list) do if i > 1 then table.insert(chain, i - 1, cert) end end
    local told = pem.valid(list[1], what)
    pem.match(told, t.key, what)
    for i, cert in ipairs(chain) do
      local above = pem.valid(cert, what)
      if i == 1 and (above.cn or "") ~= told.issuer then
        error(("%s: %s issued it, but the chain begins with %s"):format(what, told.issuer, above.cn or "?"), 0)
      end
    end
    t.certificate_text = list[1] .. (t.chain_path and "" or table.concat(chain))
    t.chain_text, t.key_text = table.concat(chain), (t.key:gsub("%s*$", "\n"))
    for _, part in ipairs { "certificate", "chain", "key" } do t[part .. "_digest"] = crypto.sha256(t[part .. "_text"]) end
    t.public_mode, t.key_mode = "644", ("%o"):format(tonumber(t.key_mode, 8))
  end,
  shown = function(t)
    if t.state == "absent" then return {} end
    return { certificate = t.certificate_text, certificate_mode = "644", certificate_owner = t.owner, chain = t.chain_text,
      chain_mode = "644", chain_owner = t.owner, key = "(secret, changed)", key_mode = t.key_mode, key_owner = t.owner,
      name = t.certificate_path }
  end,
  shared = { SHARED },
  check = function(t)
    if t.state == "absent" then
      return each_file(t, "[ ! -e {WHAT_path} ] && [ ! -L {WHAT_path} ] || { oldis WHAT present; r=1; }") .. "\nreturn $r"
    end
    local text = each_file(t, "fits WHAT {WHAT_path} {WHAT_digest} {public_mode} {owner}")
    return text:gsub("{key_digest} {public_mode}", "{key_digest} {key_mode}") .. "\nreturn $r"
  end,
  apply = function(t)
    if t.state == "absent" then return each_file(t, "rm -f -- {WHAT_path} || return") end
    local text = each_file(t, "new() { printf %s {WHAT_text}; }; put {WHAT_path} {public_mode} {owner} || return")
    return (text:gsub("{key_path} {public_mode}", "{key_path} {key_mode}"))
  end,
}
