--- A certificate authority that the host trusts.
local field, task = require "field", require "host.task"
local file = require "host.task.file"
local pem = require "host.pem"

-- The store's links lead to the file, whose old content they may be named by: they are made anew.
local TRUST = [[needs update-ca-certificates ca-certificates &&
  %s && rm -f -- {link} && timeout -k 10 {seconds} update-ca-certificates >&2]]

return task "ca_certificate" {
  doc = "A certificate authority that the host trusts (Debian's ca-certificates).", key = "name",
  fields = {
    name = field.string { required = true, match = "^[%w_-]+$" },
    content = field.string { doc = "The certificate, PEM." },
    state = field.choice { "present", "absent", default = "present" },
  },
  prepare = function(t, name)
    t.path, t.mode, t.owner = ("/usr/local/share/ca-certificates/%s.crt"):format(t.name), "644", "root:root"
    t.link = ("/etc/ssl/certs/%s.pem"):format(t.name)
    if t.state == "absent" then return end
    local what, list = ("ca_certificate \"%s\""):format(name), pem.certificates(t.content or "")
    if #list ~= 1 then
      error(("%s: 'content' wants one certificate in PEM, got %s"):format(what, #list == 0 and "none" or #list), 0)
    end
    local told = pem.valid(list[1], what)
    if not told.is_ca then error(("%s: the certificate of %s is no authority's"):format(what, told.cn or "?"), 0) end
    t.content = list[1]
    file.measure(t)
    t.probe = t.content:match("\n(%S+)\n%S+\n%-%-%-%-%-END") -- a line of the signature
  end,
  shown = function(t)
    local shown = file.shown(t)
    shown.trusted = t.state == "present" and "yes" or "no"
    return shown
  end,
  check = function(t)
    if t.state == "absent" then
      return "[ ! -e {path} ] && [ ! -L {path} ] && [ ! -L {link} ] && [ ! -e {link} ] || { oldis trusted yes; return 1; }"
    end
    return file.check(t):gsub("return %$r$", "") .. [[

      [ ! -f {path} ] || { [ -e {link} ] && grep -qxF {probe} /etc/ssl/certs/ca-certificates.crt; } ||
        { r=1; oldis trusted no; }
      return $r]]
  end,
  looks_at = file.looks_at,
  apply = function(t)
    if t.state == "absent" then
      return TRUST:format("rm -f -- {path}") .. " && find -L /etc/ssl/certs -maxdepth 1 -type l -delete"
    end
    return TRUST:format("mkdir -p /usr/local/share/ca-certificates && { " .. file.apply(t) .. "; }")
  end,
}
