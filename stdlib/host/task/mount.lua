--- What is mounted at a path, now and by fstab.
local field, task = require "field", require "host.task"

-- A word of fstab and of the kernel's list of mounts.
local function word(text)
  return (text:gsub("[\\ \t\n]", function(c) return ("\\%03o"):format(c:byte()) end))
end

-- Paths reach awk on its input: -v would undo their escapes.
local SHARED = [==[
mounted_at() { # WORD -> $from, $kind, $flags, of the mount on top; empty when there is none
  set -f
  set -- $(printf '%s\n' "$1" | awk 'FNR == NR { p = $0; next }
    $5 == p { for (i = 7; $i != "-"; i++) ; s = $(i + 2) " " $(i + 1) " ," $6 "," $(i + 3) "," }
    END { print s }' - /proc/self/mountinfo)
  set +f
  from=${1-} kind=${2-} flags=${3-}
}
fstab_of() { # WORD: its entries
  [ ! -f /etc/fstab ] || printf '%s\n' "$1" | awk 'FNR == NR { p = $0; next }
    $1 !~ /^#/ && $2 == p {
      print $1, $2, $3, ($4 == "" ? "defaults" : $4), ($5 == "" ? 0 : $5), ($6 == "" ? 0 : $6) }' - /etc/fstab
}
fstab_with() { # WORD ENTRY: fstab with this entry and no other for it
  f=/etc/fstab; [ -f $f ] || f=/dev/null
  printf '%s\n%s\n' "$1" "$2" | awk 'FNR == NR { if (NR == 1) p = $0; else e = $0; next }
    $1 !~ /^#/ && $2 == p { if (e != "" && !done) print e; done = 1; next }
    { print }
    END { if (e != "" && !done) print e }' - $f
}
same_device() { # DEVICE PATH OPTIONS
  case $1 in
  *=*) [ "$(readlink -f -- "$(findfs "$1" 2>/dev/null)")" = "$(readlink -f -- "$from")" ] ;;
  /*) case ,$3, in *,bind,* | *,rbind,*) [ "$1" -ef "$2" ]; return ;; esac
    _l=$(readlink -f -- "$from"); _d=$(readlink -f -- "$1")
    [ "$_d" = "$_l" ] || [ "$_d" = "$(cat "/sys/class/block/${_l##*/}/loop/backing_file" 2>/dev/null)" ] ;;
  *) [ "$1" = "$from" ] ;;
  esac
}
fits() { # DEVICE PATH OPTIONS TYPE
  same_device "$1" "$2" "$3" || { oldis device "$from"; return 1; }
  case $4,$kind in "auto,$kind" | "$kind,$kind" | nfs,nfs4) return ;; esac
  case ,$3, in *,bind,* | *,rbind,*) ;; *) oldis fstype "$kind"; return 1 ;; esac
}]==]

local CHECK = [==[mounted_at {spot}
  e=$(fstab_of {spot})
  case {state} in
  absent) [ -z "$e" ] || { oldis fstab "$e"; r=1; } ;;
  *) [ "$e" = {entry} ] || { [ -z "$e$from" ] || oldis fstab "$e"; r=1; } ;;
  esac
  case {state},$kind in
  mounted,) [ -z "$e" ] || oldis state unmounted; r=1 ;;
  mounted,autofs) case ,{options}, in *,x-systemd.automount,*) return $r ;; esac ;;
  mounted,*) ;;
  *,) ;;
  *) oldis state mounted; r=1 ;;
  esac
  [ {state} = mounted ] && [ -n "$from" ] || return $r
  fits {device} {path} {options} {fstype} || r=1
  w=
  for o in $(printf %s {flags}); do
    case $o in
    !*) case $flags in *,"${o#!}",*) w="$w,${o#!}" ;; esac ;;
    *) case $flags in *,"$o",*) ;; *) w="$w,no ${o}" ;; esac ;;
    esac
  done
  [ -z "$w" ] || { oldis options "${w#,}"; r=1; }
  return $r]==]

-- The mount first: an entry in fstab says that it was made.
local APPLY = [==[mounted_at {spot}
  if [ -n "$from" ]; then
    if [ {state} != mounted ]; then umount {path} || return
    elif ! fits {device} {path} {options} {fstype}; then
      umount {path} || return
      mounted_at {spot}
      [ -z "$from" ] || { echo {path}" still has "$from" mounted under what was taken off" >&2; return 1; }
    fi
  fi
  if [ {state} = mounted ]; then
    if [ -n "$from" ]; then mount -o remount,{remount} {device} {path} || return
    else mkdir -p -- {path} && mount -t {fstype} -o {options} {device} {path} || return; fi
  fi
  e={entry}; [ {state} != absent ] || e=
  [ "$(fstab_of {spot})" = "$e" ] && return
  new() { fstab_with {spot} "$e"; }
  mode=644 ids=root:root; [ ! -f /etc/fstab ] || look /etc/fstab
  put /etc/fstab "$mode" "$ids" || return
  [ ! -d /run/systemd/system ] || systemctl daemon-reload]==]

-- Options that the kernel's list of mounts tells: what each asks for, !NAME that it must not be there.
local FLAGS = { ro = "ro", rw = "!ro", noexec = "noexec", exec = "!noexec", nosuid = "nosuid", suid = "!nosuid", nodev = "nodev",
  dev = "!nodev", noatime = "noatime", relatime = "relatime", strictatime = "!relatime", nodiratime = "nodiratime" }
local IMPLIED = { user = { "noexec", "nosuid", "nodev" }, users = { "noexec", "nosuid", "nodev" }, owner = { "nosuid", "nodev" },
  group = { "nosuid", "nodev" }, defaults = { "rw", "suid", "dev", "exec" } }

local function flags_of(options)
  local by_name = {}
  local function set(option)
    local flag = FLAGS[option]
    if flag then by_name[flag:match("%a+")] = flag end
  end
  for _, option in ipairs(IMPLIED.defaults) do set(option) end
  for _, option in ipairs(options) do
    for _, implied in ipairs(IMPLIED[option] or {}) do set(implied) end
    set(option)
  end
  local flags = {}
  for _, flag in pairs(by_name) do flags[#flags + 1] = flag end
  table.sort(flags)
  return table.concat(flags, " ")
end

return task "mount" {
  doc = "A file system that is mounted, now and after a restart.", key = "path",
  fields = {
    path = field.string { required = true, match = "^/" },
    device = field.string { match = "^%S", doc = "A device, `UUID=...`, `LABEL=...`, a share, or a name such as `tmpfs`." },
    fstype = field.string { default = "auto", match = "^[%w_.-]+$" },
    options = field.list { field.string { match = "^[^%s,]+$" }, default = {},
      doc = "Such as `noatime`. No passwords: all may read fstab." },
    pass = field.integer { default = 0, min = 0, max = 2, doc = "When it is checked at the host's start; 0: never." },
    state = field.choice { "mounted", "unmounted", "absent", default = "mounted", doc = "`unmounted`: only in fstab." },
  },
  prepare = function(t, name)
    if t.state ~= "absent" and not t.device then error(("mount \"%s\": needs 'device'"):format(name), 0) end
    if t.path ~= "/" then t.path = t.path:gsub("/+$", "") end
    if t.path:find("//") or t.path:find("/%.%.?/") or t.path:find("/%.%.?$") then
      error(("mount \"%s\": 'path' wants a path without // and dots"):format(name), 0)
    end
    t.device = t.device or ""
    t.flags = flags_of(t.options)
    local options = #t.options > 0 and table.concat(t.options, ",") or "defaults"
    local kept = {}
    for _, option in ipairs(t.options) do
      if option ~= "defaults" then kept[#kept + 1] = option end
    end
    table.insert(kept, 1, "rw,suid,dev,exec")
    t.remount, t.options = table.concat(kept, ","), options
    t.spot = word(t.path)
    t.entry = ("%s %s %s %s 0 %d"):format((word(t.device):gsub("^#", "\\043")), t.spot, t.fstype, word(options), t.pass)
  end,
  shown = function(t)
    local there = t.state ~= "absent"
    return { fstab = there and t.entry or "", entry = t.entry, state = t.state, device = t.device, fstype = t.fstype,
      options = t.options }
  end,
  shared = { SHARED }, check = CHECK, apply = APPLY,
}
