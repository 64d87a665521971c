--- A user of the host.
local crypto, field, task = require "crypto", require "field", require "host.task"
local group = require "host.task.group"

local NAME = "^[%l_][%w_.-]*%$?$"

-- The fields of a line of passwd, and the groups that name somebody, without a program.
local FIND = [[find_user() { # NAME -> $uid $gid $comment $home $shell
  entry /etc/passwd "$1" || return
  e=${e#*:}; e=${e#*:}; uid=${e%%:*}; e=${e#*:}; gid=${e%%:*}; e=${e#*:}; comment=${e%%:*}; e=${e#*:}
  home=${e%%:*}; shell=${e#*:}
}]]
local GROUPS = [[find_groups() { # NAME -> $in, with commas around each
  in=,; while IFS=: read -r _g _p _i _m; do case ,$_m, in *,"$1",*) in=$in$_g, ;; esac; done </etc/group
}]]

local function is_hash(text)
  return text:find("^[!*][^:%s%c]*$") or text:find("^%$%w+%$[^:%s%c]+$") or (#text == 13 and text:find("^[%w./]+$"))
end

local CHECK = [[find_user {name} || return 1
  [ -z {id} ] || [ "$uid" = {id} ] || { r=1; oldis uid "$uid"; }
  [ -z {told} ] || [ "$comment" = {gecos} ] || { r=1; oldis comment "$comment"; }
  [ -z {login} ] || [ "$shell" = {login} ] || { r=1; oldis shell "$shell"; }
  if [ -n {place} ] && [ "$home" != {place} ]; then r=1; oldis home "$home"
  elif [ -n {make} ] && [ ! -d "$home" ]; then r=1; oldis home missing; fi
  if [ -n {first} ]; then
    entry /etc/group {first} || { echo "there is no group "{first} >&2; return 2; }
    e=${e#*:}; e=${e#*:}
    [ "$gid" = "${e%%:*}" ] || { r=1; oldis group "$gid"; }
  fi
  if [ -n {more} ] || [ -n {only} ]; then
    find_groups {name}; s=
    for g in $(printf %s {more} | tr , ' '); do
      entry /etc/group "$g" || { echo "there is no group $g" >&2; return 2; }
      case $in in *,"$g",*) ;; *) s=1 ;; esac
    done
    if [ -n {only} ]; then for g in $(printf %s "$in" | tr , ' '); do case ,{more}, in *,"$g",*) ;; *) s=1 ;; esac; done; fi
    [ -z "$s" ] || { r=1; in=${in#,}; oldis groups "${in%,}"; }
  fi
  if [ -n {digest} ]; then
    entry /etc/shadow {name} || :
    e=${e#*:}; s=$(printf %s "${e%%:*}" | sha256sum)
    [ "${s%% *}" = {digest} ] || { r=1; oldis password '(secret)'; }
  fi
  return $r]]

-- The home of a user who was there before is made as useradd makes one, and appears as a whole.
local HOME = [[make_home() {
    [ ! -d "$home" ] || return 0
    t=${home%/*}/.vmrun.$$; trap 'rm -rf -- "$t"; exit 143' HUP INT TERM
    mkdir -p -- "${home%/*}" && mkdir -m 700 -- "$t" && { [ ! -d /etc/skel ] || cp -a /etc/skel/. "$t/"; } &&
      chmod 700 "$t" && chown -hR "$uid:$gid" "$t" && mv -T -- "$t" "$home" || { rm -rf -- "$t"; return 1; }
  }
]]

return task "user" {
  doc = "A user. What is not said is left as it is.", key = "name",
  fields = {
    name = field.string { required = true, match = NAME },
    uid = field.integer { min = 0 },
    group = field.string { match = NAME, doc = "The first group, which must be there; one of the user's own name unless given." },
    groups = field.list { field.string { match = NAME }, default = {}, doc = "More groups, which must be there." },
    exclusive = field.boolean { default = false, doc = "In no other groups than these." },
    comment = field.string { match = "^[^:\n]*$" },
    home = field.string { match = "^/[^:\n]*[^:\n/]$", doc = "Where it is; an old one stays where it was." },
    create_home = field.boolean { doc = "Make the home when it is not there; yes, unless `system`." },
    shell = field.string { match = "^/[^:\n]*$" },
    system = field.boolean { default = false, doc = "A new one gets a number of the system's." },
    password_hash = field.secret { doc = "As `mkpasswd` makes it; `*` lets nobody in by password." },
    remove_home = field.boolean { default = false, doc = "With state = \"absent\": the home goes as well." },
    state = field.choice { "present", "absent", default = "present" },
  },
  prepare = function(t, name)
    if t.password_hash and not is_hash(t.password_hash) then
      error("user \"" .. name .. "\": 'password_hash' wants what crypt(3) makes of a password, such as $y$..., no password", 0)
    end
    t.id, t.first, t.more = t.uid and ("%d"):format(t.uid) or "", t.group or "", table.concat(t.groups, ",")
    t.only = t.exclusive and "1" or ""
    t.gecos, t.told = t.comment or "", t.comment and "1" or ""
    t.place, t.login = t.home or "", t.shell or ""
    if t.create_home == nil then t.create_home = not t.system end
    t.make = t.create_home and "1" or ""
    t.password, t.digest = t.password_hash or "", t.password_hash and crypto.sha256(t.password_hash) or ""
  end,
  shown = function(t)
    return { uid = t.id, group = t.first, groups = t.more, comment = t.gecos, home = t.home or "there", shell = t.login,
      password = "(secret, changed)", state = t.state, name = t.name }
  end,
  shared = { group.shared[1], FIND, GROUPS },
  check = function(t)
    if t.state == "absent" then return "find_user {name} || return 0; oldis state present; return 1" end
    return CHECK
  end,
  apply = function(t)
    if t.state == "absent" then return t.remove_home and "userdel -r -- {name}" or "userdel -- {name}" end
    return HOME .. [[set --
      [ -z {id} ] || set -- "$@" -u {id}
      [ -z {told} ] || set -- "$@" -c {gecos}
      [ -z {place} ] || set -- "$@" -d {place}
      [ -z {login} ] || set -- "$@" -s {login}
      [ -z {first} ] || set -- "$@" -g {first}
      if find_user {name}; then
        [ -n {only} ] || [ -z {more} ] || set -- "$@" -a
        [ -z {only} ] && [ -z {more} ] || set -- "$@" -G {more}
        [ $# -eq 0 ] || usermod "$@" -- {name} || return
      else
        [ -z {more} ] || set -- "$@" -G {more}
        if [ -z {first} ]; then if entry /etc/group {name}; then set -- "$@" -g {name}; else set -- "$@" -U; fi; fi
        useradd ]] .. (t.system and "-r " or "") .. [[-M "$@" -- {name} || return
      fi
      if [ -n {make} ]; then find_user {name} && make_home || return; fi
      [ -z {digest} ] || printf '%s:%s\n' {name} {password} | chpasswd -e]]
  end,
}
