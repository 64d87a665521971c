--- Text for a POSIX shell: quoting, and the lines that every program starts with.
local M = {}

--- A value as one word of a shell, whatever it holds. NUL cannot stand in a shell's word: nil and a message.
function M.quote(value)
  local text = tostring(value)
  if text:find("\0", 1, true) then error("a text for a shell has a NUL byte inside", 2) end
  if text ~= "" and not text:find("[^%w_@%%+=:,./-]") then return text end
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

--- A command as root does it, on a host where whoever logs in may be somebody else.
function M.as_root(host, command) return host.user == "root" and command or "sudo -n " .. command end

--- A snippet in pieces, for who fills it often: texts and, between each two, the name of a value. `${name}` is the shell's own.
function M.pieces(snippet)
  local list, from = {}, 1
  for at, dollar, name, behind in snippet:gmatch("()(%$?){([%a_][%w_]*)}()") do
    if dollar == "" then
      list[#list + 1], list[#list + 2] = snippet:sub(from, at - 1), name
      from = behind
    end
  end
  list[#list + 1] = snippet:sub(from)
  return list
end

--- Fills each `{name}` in a snippet (a text, or its pieces) with the quoted value of that name. A missing name is an error.
function M.fill(snippet, values)
  local pieces, words, out = type(snippet) == "table" and snippet or M.pieces(snippet), {}, {}
  for i, piece in ipairs(pieces) do
    if i % 2 == 0 then
      if values[piece] == nil then error("no value for {" .. piece .. "} in a shell snippet", 2) end
      words[piece] = words[piece] or M.quote(values[piece])
      piece = words[piece]
    end
    out[i] = piece
  end
  return table.concat(out)
end

-- fd 3 carries the report, one line a fact, each behind the run's own mark and on a line of its own whatever was printed
-- before; everything else that a command prints goes to stderr. Nothing reads the program's input but the shell itself.
-- Each line that is sent by itself costs four processes a turn: where $KEEP is set lines wait for `tell`. A subshell sets it empty,
-- for what waits in it would be lost.
M.PRELUDE = [[
exec 3>&1 1>&2 </dev/null
umask 022
NL='
'
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin; export PATH
TOLD= KEEP=
say() { if [ -z "$KEEP" ]; then printf '\n%s %s\n' "$M" "$*" >&3; else TOLD="$TOLD$M $*$NL"; [ ${#TOLD} -lt 8192 ] || tell; fi; }
tell() { [ -z "$TOLD" ] || { printf '\n%s' "$TOLD" >&3; TOLD=; }; }
ask() { if plain "$2"; then say answer "$1" "=$2"; else say answer "$1" $(printf %s "$2" | base64); fi; }
plain() { case $1 in '' | *[!A-Za-z0-9._:/@+-]*) return 1 ;; esac; } # needs no base64
old() { [ "$MODE" != check ] || { set -- "$I" "$1" $(base64); printf '\n%s old %s\n' "$M" "$*" >&3; }; } # behind a pipe: a subshell
oldis() { if plain "$2"; then [ "$MODE" != check ] || say old "$I" "$1" "=$2"; else printf '%s' "$2" | old "$1"; fi; }
oldfile() { # KEY PATH: its content, if `look` has found it short; a text of a few lines costs no other program
  [ "$MODE" = check ] && [ "$size" -le 65536 ] || return 0
  if [ "$size" -le 2048 ]; then
    say old "$I" "$1" =; _n=0 _l=
    while IFS= read -r _l; do say old "$I" "$1" "+$_l"; _n=$((_n + ${#_l} + 1)); done <"$2"
    [ -z "$_l" ] || say old "$I" "$1" "-$_l"
    [ $((_n + ${#_l})) -ne "$size" ] || return 0
    tell
  fi
  old "$1" <"$2"
}
SEEN= LISTED= DUE= SUMS= FOLDERS= DIRS=
glance() { # PATH... (of plain letters): asks at once what `look` and `digest` will be asked; the answers hold as long as nothing is changed
  _l=
  for _p; do
    shift
    if [ -L "$_p" ]; then _l="$_l $_p"; elif [ -e "$_p" ]; then set -- "$@" "$_p"; fi
  done
  [ $# -gt 50 ] || [ -z "$*$_l" ] || LISTED=$NL$(ls -ldb --block-size=1 --time-style=+ -- "$@" $_l $DIRS 2>/dev/null)$NL
  FOLDERS=$LISTED
  for _p; do
    listed "$_p" && continue
    SEEN=$SEEN$NL$(stat -c '%a %U:%G %u:%g %s %n' -- "$@" 2>/dev/null)$NL
    break
  done
  sums
  for _p; do [ ! -f "$_p" ] || DUE="$DUE $_p"; done
}
listed() { # PATH: all that `look` says, from a line of ls, where it says as much as stat: of what is root's, and of usual modes
  _s=${LISTED%%"  $1$NL"*}
  [ "$_s" != "$LISTED" ] || return
  set -- ${_s##*"$NL"}
  case ${1%.} in
    [d-]rw-r--r--) mode=644 ;; [d-]rwxr-xr-x) mode=755 ;; [d-]rw-------) mode=600 ;; [d-]rwx------) mode=700 ;;
    [d-]rw-r-----) mode=640 ;; [d-]rwxr-x---) mode=750 ;; *) return 1 ;;
  esac
  [ "$3:$4" = root:root ] || return
  owner=root:root ids=0:0 size=$5
}
target() { # PATH of a link -> $link, what it points to
  _s=${LISTED#*" $1 -> "}
  link=${_s%%"$NL"*}
  case $_s:$link in "$LISTED":* | *:*\\*) link=$(readlink -- "$1" && echo .) && link=${link%??} ;; esac
}
sums() { [ -z "$DUE" ] || SUMS=$SUMS$NL$(sha256sum -- $DUE 2>/dev/null)$NL; DUE=; } # of what was glanced at, once one is wanted
look() { # PATH -> $mode, $owner (names), $ids, $size
  ! listed "$1" || return 0
  _s=${SEEN%%" $1$NL"*}
  if [ "$_s" != "$SEEN" ]; then _s=${_s##*"$NL"}; else _s=$(stat -c '%a %U:%G %u:%g %s' -- "$1" 2>/dev/null) || _s='- - - -'; fi
  mode=${_s%% *} _s=${_s#* }; owner=${_s%% *} _s=${_s#* }; ids=${_s%% *} size=${_s#* }
}
digest() { # PATH -> $sum
  case "$DUE " in *" $1 "*) sums ;; esac
  sum=${SUMS%%" $1$NL"*}
  if [ "$sum" != "$SUMS" ]; then sum=${sum##*"$NL"}; else sum=$(sha256sum 2>/dev/null <"$1") || { sum=; return 1; }; fi
  sum=${sum%% *}
}
slurp() { # PATH, if `look` has found it short -> $text, all of it
  [ ! -L "$1" ] || return
  case $size in *[!0-9]* | ?????*) return 1 ;; esac
  [ "$size" -le 2048 ] || return
  text= _l=
  while IFS= read -r _l; do text=$text$_l$NL; done <"$1"
  text=$text$_l
  [ ${#text} -eq "$size" ]
}
mine() { # PATH OWNER: can it be told without a program that it is as OWNER says?
  case $2 in '') ;; root:root | 0:0) [ -O /proc/sys ] && [ -G /proc/sys ] && [ -O "$1" ] && [ -G "$1" ] ;; *) return 1 ;; esac
}
umasked() { # FOLDER: one of $DIRS where a file gets what the umask leaves: no list of access rights is handed down
  case " $DIRS " in *" $1 "*) ;; *) return 1 ;; esac
  _s=${FOLDERS%%"  $1$NL"*}
  if [ "$_s" = "$FOLDERS" ]; then # a new folder, or a link to one
    FOLDERS=$NL$(ls -Lldb --time-style=+ -- $DIRS 2>/dev/null)$NL
    _s=${FOLDERS%%"  $1$NL"*}
    [ "$_s" != "$FOLDERS" ] || { DIRS=; return 1; } # an ls that cannot say it
  fi
  case ${_s##*"$NL"} in d?????????' '* | d?????????.' '*) ;; *) return 1 ;; esac
}
put() { # PATH MODE OWNER; `new` prints the content, and nothing happens to the file unless it succeeds
  [ ! -d "$1" ] || { echo "$1 is a directory" >&2; return 1; }
  _t=${1%/*}/.vmrun.$$ _u=077
  [ ! -e "$_t" ] && [ ! -L "$_t" ] || rm -f -- "$_t" || return
  # A mode without x comes with the file, if nobody else must own it first.
  case $3 in '' | root:root | 0:0) case $2 in *[!0246]* | 0* | ????*) ;; *) _u=$((777 - $2)) ;; esac ;; esac
  trap 'rm -f -- "$_t"; exit 143' HUP INT TERM
  umask $_u; set -C
  new >"$_t"; _r=$?
  umask 022; set +C
  # What has an x nevertheless lies where modes are given otherwise.
  [ $_r -eq 0 ] && { mine "$_t" "$3" || { chown "$3" "$_t" && _u=077; }; } &&
    { { [ $_u != 077 ] && [ ! -x "$_t" ] && umasked "${1%/*}"; } || chmod "$2" "$_t"; } && mv -f -- "$_t" "$1" ||
    { rm -f -- "$_t"; _r=1; }
  trap - HUP INT TERM
  return $_r
}
needs() { # COMMAND PACKAGE
  command -v "$1" >/dev/null 2>&1 ||
    { printf '%s is not on this host: install it first (package "%s")\n' "$1" "$2" >&2; return 1; }
}
relink() { # TARGET PATH: a symbolic link in the place of another or of a file
  _t=${2%/*}/.vmrun.$$; trap 'rm -f -- "$_t"; exit 143' HUP INT TERM
  { [ ! -e "$_t" ] && [ ! -L "$_t" ] || rm -f -- "$_t"; } && ln -s -- "$1" "$_t" && mv -fT -- "$_t" "$2" ||
    { rm -f -- "$_t"; _t=; }
  trap - HUP INT TERM
  [ -n "$_t" ]
}
fetch() { # URL FILE
  if command -v curl >/dev/null 2>&1; then curl -fsSL --retry 3 --max-time "${3:-120}" -o "$2" -- "$1"
  else wget -q -T "${3:-120}" -O "$2" -- "$1"; fi
}
pending() { [ -e "$V/pending/$1" ]; }
notify() { [ -d "$V/pending" ] || mkdir -p "$V/pending" && printf '' >"$V/pending/$1"; }
settle() { rm -f -- "$V/pending/$1"; }
apt_stale() { notify apt; }
]]

return M
