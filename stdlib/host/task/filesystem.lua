--- A file system on an empty data disk. A disk that holds anything is never touched.
local field, task = require "field", require "host.task"

local TYPES = {
  ext4 = { label = 16, package = "e2fsprogs", quiet = "-q" },
  xfs = { label = 12, package = "xfsprogs", quiet = "-q" },
  btrfs = { label = 255, package = "btrfs-progs", quiet = "-q" },
}

local SHARED = [==[
zeros() { [ "$(tr -d '\000' | head -c 1 | wc -c)" -eq 0 ]; }
contents() { # DEVICE -> $type, $label, and $what: all that it holds, for people; nothing when it is empty
  type= label= what=
  command -v blkid >/dev/null 2>&1 || { echo "there is no blkid to look at $1 with: install util-linux" >&2; return 2; }
  _s=$(blkid -p -o export "$1" 2>/dev/null) && _e=0 || _e=$?
  if [ $_e -eq 0 ]; then
    type=$(printf '%s\n' "$_s" | sed -n 's/^TYPE=//p')
    _p=$(printf '%s\n' "$_s" | sed -n 's/^PTTYPE=//p')
    label=$(blkid -p -o value -s LABEL "$1" 2>/dev/null)
    what="${type:+$type, }${label:+labelled $label, }${_p:+partitions of type $_p, }"; what=${what%, }
    [ -z "$_p" ] || type=
  elif [ $_e -ne 2 ]; then
    what="signatures that contradict each other: $(wipefs -n "$1" 2>/dev/null | awk 'NR > 1 { printf "%s ", $3 }')"
  fi
  if [ -z "$what" ]; then # as partitions are that only tell where they lie
    if [ -b "$1" ]; then _n=$(blockdev --getsize64 "$1"); else _n=$(stat -c %s -- "$1"); fi || return 2
    [ "$_n" -gt 0 ] || { what="no room at all: its size is 0"; return; }
    _n=$((_n / 65536)) _k=0
    head -c 4194304 <"$1" | zeros || what="data within the first 4 MiB"
    dd if="$1" bs=65536 skip=$((_n > 64 ? _n - 64 : 0)) 2>/dev/null | zeros || what="data within the last 4 MiB"
    while [ -z "$what" ] && [ $_k -lt 32 ]; do
      dd if="$1" bs=65536 skip=$((_n * _k / 32)) count=1 2>/dev/null | zeros || what="data at $((_n * _k / 32 * 64)) KiB"
      _k=$((_k + 1))
    done
  fi
}
at_device() { # DEVICE -> $d; 1: there is none
  d=$(readlink -f -- "$1") || d=$1
  [ ! -e "$d" ] || [ -b "$d" ] || [ -f "$d" ] || { echo "$1 is neither a disk nor an image" >&2; return 2; }
  [ -e "$d" ]
}
refused() { # NAME
  printf '%s is not empty: it holds %s. Only an empty disk gets a file system; %s\n' "$1" "$what" \
    "wipefs -a and blkdiscard empty one for good" >&2
  return 2
}]==]

local CHECK = [==[at_device {device} || return $?
  contents "$d" || return 2
  [ -n "$what" ] || return 1
  [ "$type" = {fstype} ] || { refused {device}; return 2; }
  [ -z {label} ] || [ "$label" = {label} ] || { refused {device}; return 2; }]==]

local WAIT = [==[if ! at_device {device}; then
    echo waiting for {device}
    if [ -e /run/udev/control ] && command -v udevadm >/dev/null 2>&1; then
      udevadm wait --timeout={wait} --initialized=false {device} || :
    else n=0; while ! [ -e {device} ] && [ $n -lt {wait} ]; do sleep 1; n=$((n + 1)); done; fi
    at_device {device} || { [ -e "$d" ] || echo {device}" did not come within "{wait}" s" >&2; return 1; }
  fi
  contents "$d" || return
  if [ -n "$what" ]; then
    [ "$type" = {fstype} ] && { [ -z {label} ] || [ "$label" = {label} ]; } || refused {device}
    return
  fi
  command -v mkfs.{fstype} >/dev/null 2>&1 || { echo "there is no mkfs."{fstype}": install "{package} >&2; return 1; }
]==]

return task "filesystem" {
  doc = "A file system on an empty disk. One that holds anything else is refused, and what it holds is said.", key = "device",
  fields = {
    device = field.string { required = true, match = "^/.", doc = "Such as /dev/disk/azure/scsi1/lun0, or an image file." },
    fstype = field.choice { "ext4", "xfs", "btrfs", default = "ext4" },
    label = field.string { match = "^[^\n]+$" },
    options = field.list { field.string { match = "^[^\n]+$" }, default = {}, doc = "More arguments of mkfs, a word each." },
    wait = field.integer { default = 60, min = 0, doc = "Seconds that the disk may take to come." },
  },
  prepare = function(t, name)
    local most = TYPES[t.fstype].label
    if t.label and #t.label > most then
      error(("filesystem \"%s\": 'label' has more than the %d bytes that %s has room for"):format(name, most, t.fstype), 0)
    end
    t.label, t.package = t.label or "", TYPES[t.fstype].package
    t.value = t.fstype .. (t.label ~= "" and " " .. t.label or "")
    for i, option in ipairs(t.options) do t["option" .. i] = option end
  end,
  shown = function(t) return { value = t.value } end,
  shared = { SHARED }, check = CHECK,
  apply = function(t)
    local words = { "timeout -k 10 {seconds} mkfs.{fstype}", TYPES[t.fstype].quiet }
    if t.label ~= "" then words[#words + 1] = "-L {label}" end
    for i in ipairs(t.options) do words[#words + 1] = ("{option%d}"):format(i) end
    words[#words + 1] = '"$d"'
    return WAIT .. table.concat(words, " ")
  end,
}
