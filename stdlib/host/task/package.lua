--- Packages of the host's distribution.
local field, task = require "field", require "host.task"

-- A command that wants apt's or dpkg's locks runs as soon as it has them, and who has them now is told; apt's own option for
-- that covers two of the four, and tells nothing. What dpkg was killed at is finished first.
local APT = [[apt_run() { # SECONDS COMMAND...
  _end=$(($(date +%s) + $1 + 1)) _who=; shift
  while _left=$((_end - $(date +%s))); [ $_left -gt 0 ]; do
    _r=$({ timeout -k 10 $_left "$@" 2>&1; printf '\n@%s\n' $?; } | {
      _h=
      while IFS= read -r _l; do
        case $_h:$_l in
          *:@[0-9]*) _c=${_l#@} ;;
          ":E: Could not get lock "* | ":dpkg: error: dpkg "*lock*) _h=${_l#*: } ;;
          ":E: dpkg was interrupted"*) _h=interrupted ;;
          :?*) printf '%s\n' "$_l" >&2 ;;
        esac
      done
      printf '%s %s' "$_c" "$_h"
    })
    case $_r in
      0* | *[0-9]' ') return ${_r%% *} ;;
      *' interrupted')
        [ "$_who" != interrupted ] && timeout -k 10 $_left dpkg --force-confdef --force-confold --configure -a || return
        _who=interrupted; continue ;;
    esac
    [ "$_who" = "${_r#* }" ] || { _who=${_r#* }; printf 'waiting: %s\n' "$_who" >&2; }
    sleep 1 # the end of another's lock is no event
  done
  printf 'no time is left: %s\n' "${_who:-apt took all of it}" >&2
  return 124
}
apt_fresh() { # SECONDS
  if pending apt || [ -z "$(find /var/lib/apt/lists -maxdepth 1 -name '*Packages*' -mmin -60 2>/dev/null | head -n 1)" ]; then
    apt_run "$1" apt-get -o DPkg::Lock::Timeout=0 update -qq && settle apt
  fi
}]]

-- dpkg-query reads all that dpkg knows into memory first. It is asked where that list alone does not tell: while dpkg is at work, about
-- a package of two architectures, and about one that is not there.
local SAYS = [[dpkg_says() { # PACKAGE -> $s: its status and version; nothing: dpkg does not know it
  set -- "$1" /var/lib/dpkg/updates/*
  if [ ! -e "$2" ] && [ -r /var/lib/dpkg/status ] && s=$(grep -A 14 -xFe "Package: $1" /var/lib/dpkg/status 2>/dev/null); then
    _s=$NL${s#*"$NL"} s=${_s%%"$NL$NL"*}$NL
    case $_s in *"${NL}Package: $1$NL"*) ;; *)
      case $s in *"${NL}Status: "*"${NL}Version: "*)
        _s=${s#*"${NL}Status: "} s=${s#*"${NL}Version: "}; s="${_s%%"$NL"*} ${s%%"$NL"*}"; return ;;
      esac ;;
    esac
  fi
  s=$(dpkg-query -W -f '${Status} ${Version}' "$1" 2>/dev/null) || s=
}]]

return task "package" {
  doc = "Packages from the host's apt repositories.", key = "names",
  fields = {
    names = field.list { field.string { match = "^[%w][%w+.-]*$" }, required = true, doc = "The packages; the task's own name unless given." },
    version = field.string { match = "^[%w.+:~*-]+$", doc = "A version, or a prefix that ends in `*`." },
    version_until = field.string { match = "^/", doc = "Once this path exists, `version` is only for packages that are missing." },
    hold = field.boolean { default = false, doc = "Keep apt from changing them by itself." },
    state = field.choice { "present", "absent", default = "present" },
  },
  prepare = function(t)
    t.list = table.concat(t.names, " ")
    t.version = t.version or ""
    t.held = t.hold and "1" or "0"
    t.settled = t.version_until or "/nonexistent"
  end,
  shown = function(t)
    return { installed = t.state == "absent" and "" or (t.version ~= "" and t.version or "yes"), held = t.hold and "yes" or nil }
  end,
  shared = { SAYS, APT },
  inline = true,
  check = function(t)
    if t.state == "absent" then
      return [[l={list}
      for p in $l; do
        dpkg_says "$p"; case $s in *" ok installed "*) oldis installed "$p"; return 1 ;; esac; done; return 0]]
    end
    return [[r=0 v={version} l={list}
      [ ! -e {settled} ] || v=
      for p in $l; do
        dpkg_says "$p"; h=no
        case $s in "install ok installed "*) ;; "hold ok installed "*) h=yes ;; *) oldis installed ""; r=1; continue ;; esac
        s=${s##* }
        [ -z "$v" ] || case $s in $v) ;; *) oldis installed "$s"; r=1 ;; esac
        [ {held} = 0 ] || [ $h = yes ] || { oldis held no; r=1; }
      done; return $r]]
  end,
  apply = function(t)
    if t.state == "absent" then
      return "l={list}; apt_run {seconds} apt-get -o DPkg::Lock::Timeout=0 remove -y -qq --allow-change-held-packages $l"
    end
    return [[v={version} l={list} w= end=$(($(date +%s) + {seconds}))
      for p in $l; do
        [ ! -e {settled} ] || { dpkg_says "$p"; case $s in *" ok installed "*) continue ;; esac; }
        w="$w $p${v:+=$v}"
      done
      if [ -n "$w" ]; then
        apt_fresh {seconds} && apt_run $((end - $(date +%s))) apt-get -o DPkg::Lock::Timeout=0 -o Dpkg::Options::=--force-confdef \
          -o Dpkg::Options::=--force-confold install -y -qq --no-install-recommends --allow-change-held-packages --allow-downgrades $w || return
      fi
      [ {held} = 0 ] || apt_run $((end - $(date +%s))) apt-mark hold $l >/dev/null]]
  end,
}
