--- Keys that let a user in.
local field, task = require "field", require "host.task"
local user = require "host.task.user"

local TYPES = { ["ssh-ed25519"] = true, ["ssh-rsa"] = true, ["ecdsa-sha2-nistp256"] = true, ["ecdsa-sha2-nistp384"] = true,
  ["ecdsa-sha2-nistp521"] = true, ["sk-ssh-ed25519@openssh.com"] = true, ["sk-ecdsa-sha2-nistp256@openssh.com"] = true }

-- The file and its folder; `l` the wanted lines, `b` what each key is known by. A folder that the user made a link could lead
-- anywhere, and root writes here.
local FIND = [[find_user {user} || { echo "there is no user "{user} >&2; return 2; }
  [ -d "$home" ] || { echo "the home of "{user}", $home, is not there: make it first (user with 'create_home')" >&2; return 2; }
  d=$home/.ssh k=$home/.ssh/authorized_keys l={lines} b={blobs}
  [ ! -L "$d" ] || { echo "$d is a link, which is not followed" >&2; return 2; }
]]

-- A private key that was given by mistake must not come out, so what is wrong is told by its place.
local function read_keys(t, name)
  local lines, blobs = {}, {}
  for i, given in ipairs(t.keys) do
    for line in given:gmatch("[^\n]+") do
      local kind, blob = line:match("^(%S+)%s+([%w+/]+=*)")
      if TYPES[kind] then
        lines[#lines + 1] = (t.options and t.options .. " " or "") .. line:gsub("%s+$", "")
        blobs[#blobs + 1] = blob
      elseif line:find("^%s*[^#%s]") then
        local text = "authorized_key \"%s\": 'keys[%d]' is no line of a public key, such as ssh-ed25519 AAAA... COMMENT"
        error(text:format(name, i), 0)
      end
    end
  end
  if not lines[1] then error(("authorized_key \"%s\": there is no key in 'keys'"):format(name), 0) end
  return lines, blobs
end

return task "authorized_key" {
  doc = "Public keys that let a user in.", key = "user",
  fields = {
    user = field.string { required = true, match = "^[%l_][%w_.-]*%$?$" },
    keys = field.list { field.string {}, required = true, doc = "Lines `TYPE BASE64 COMMENT`." },
    options = field.string { match = "^%S[^\n]*$", doc = "What stands in front of them, such as `restrict,command=\"...\"`." },
    exclusive = field.boolean { default = false, doc = "No other keys than these." },
    state = field.choice { "present", "absent", default = "present" },
  },
  prepare = function(t, name)
    local lines, blobs = read_keys(t, name)
    t.lines, t.blobs = table.concat(lines, "\n"), table.concat(blobs, "\n")
    t.only = t.exclusive and "1" or ""
  end,
  shown = function(t)
    return { keys = t.state == "present" and t.lines or "", mode = "600", owner = t.user, folder = "700", name = t.lines }
  end,
  shared = user.shared,
  check = function(t)
    if t.state == "absent" then
      return "find_user {user} && [ -d \"$home\" ] || return 0\n" .. FIND .. [[[ -f "$k" ] || return 0
        o=$(printf '%s\n' "$b" | grep -Ff - -- "$k") || return 0
        oldis keys "$o"; return 1]]
    end
    return FIND .. [=[[ -f "$k" ] || return 1
      if [ -n {only} ]; then o=$(grep -v -e '^[[:space:]]*#' -e '^[[:space:]]*$' -- "$k")
      else o=$(printf '%s\n' "$b" | grep -Ff - -- "$k"); fi
      [ "$(printf '%s\n' "$o" | sort)" = "$(printf '%s\n' "$l" | sort)" ] || { r=1; oldis keys "$o"; }
      look "$k"
      [ "$mode" = 600 ] || { r=1; oldis mode "$mode"; }
      case $ids in "$uid":*) ;; *) r=1; oldis owner "${owner%%:*}" ;; esac
      look "$d"
      [ "$mode" = 700 ] || { r=1; oldis folder "$mode"; }
      case $ids in "$uid":*) ;; *) r=1; oldis owner "${owner%%:*}" ;; esac
      return $r]=]
  end,
  apply = function(t)
    return FIND .. [[[ -d "$d" ] || mkdir -m 700 -- "$d" || return
      chmod 700 "$d" && chown "$uid:$gid" "$d" || return
      new() {
        [ ! -f "$k" ] || [ -n {only} ] || printf '%s\n' "$b" | grep -vFf - -- "$k" || [ $? -eq 1 ] || return
        ]] .. (t.state == "present" and "printf '%s\\n' \"$l\"" or ":") .. [[

      }
      put "$k" 600 "$uid:$gid"]]
  end,
}
