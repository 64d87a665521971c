--- Lines with a host's key, as recipes and known_hosts files have them: "[MARK ][HOSTS ]TYPE BASE64[ COMMENT]", with spaces or
-- tabs between.
local crypto, ssh = require "crypto", require "ssh_core"

local M = {}

--- The parts of a line: { mark = (@revoked, @cert-authority or nil), hosts = (nil: any host), key = "type base64", name = (for
-- messages) }; nil where there is no key in it.
function M.parse(line)
  local mark, rest = line:match("^%s*(@%S+)%s+(.*)$")
  local words = {}
  for word in (rest or line):gmatch("%S+") do words[#words + 1] = word end
  for first = 1, 2 do
    local blob = words[first + 1] and crypto.unbase64(words[first + 1])
    local name = blob and ssh.key_name(blob)
    if name and name:match("^%S+") == words[first] then
      return { mark = mark, hosts = first == 2 and words[1] or nil, key = words[first] .. " " .. words[first + 1], name = name }
    end
  end
end

--- The parts as a line of a known_hosts file; `hosts` where it names none itself.
function M.text(parts, hosts)
  return (parts.mark and parts.mark .. " " or "") .. (parts.hosts or hosts) .. " " .. parts.key
end

return M
