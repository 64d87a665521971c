--- Upgrades of the packages that are installed. What is held stays as it is, and nothing is removed.
local field, task = require "field", require "host.task"

-- What would be upgraded by the lists that are there, which takes no network: a name a line. (A new kernel is a new package.)
local WAITING = [[upgrades() { # all | security
  _u=$(apt-get -s -o Debug::NoLocking=true upgrade --with-new-pkgs 2>/dev/null) || return
  printf '%s\n' "$_u" | awk -v of="$1" '$1 == "Inst" && $3 ~ /^\[/ {
    n = $2; sub(/^[^(]*/, ""); if (of == "all" || /Debian-Security:|-security[ ,]/) print n }'
}]]

return task "package_upgrade" {
  doc = "Upgrades of the installed packages, held ones apart: once for a text.",
  fields = {
    once = field.string { required = true, match = "^[^%s\n][^\n]*$", doc = "Upgrade once for this text: another text is another upgrade." },
    security = field.boolean { default = false, doc = "Only what the security archive has." },
  },
  prepare = function(t) t.of = t.security and "security" or "all" end,
  marked = true,
  shown = function(t) return { done = t.once, waiting = "none" } end,
  shared = { WAITING, table.unpack(require("host.task.package").shared) },
  inline = true,
  check = [[_f=$V/upgrades/{mark} _v=; [ ! -r "$_f" ] || IFS= read -r _v <"$_f"
    [ "$_v" != {once} ] || return 0
    [ -z "$_v" ] || oldis done "$_v"
    if [ "$MODE" = check ] && _u=$(upgrades {of}); then
      oldis waiting "$(printf '%s' "$_u" | grep -c .) newer by the lists of $(date -u -r /var/lib/apt/lists +%F)"
    fi
    return 1]],
  apply = [[end=$(($(date +%s) + {seconds})) w= v='-o DPkg::Lock::Timeout=0 -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold -y -qq'
    apt_run {seconds} apt-get -o DPkg::Lock::Timeout=0 -o APT::Update::Error-Mode=any update -qq || return
    case {of} in
      all) apt_run $((end - $(date +%s))) apt-get $v upgrade --with-new-pkgs || return ;;
      *) w=$(upgrades security) || return
        [ -z "$w" ] || apt_run $((end - $(date +%s))) apt-get $v install --only-upgrade --no-install-recommends $w || return ;;
    esac
    mkdir -p "$V/upgrades" && printf '%s\n' {once} >"$V/upgrades/"{mark}.new && mv -f "$V/upgrades/"{mark}.new "$V/upgrades/"{mark}]],
}
