--- Text for a POSIX shell: quoting, and the lines that every program starts with.
local M = {}

--- A value as one word of a shell, whatever it holds. NUL cannot stand in a shell's word: nil and a message.
function M.quote(value)
  local text = tostring(value)
  if text:find("\0", 1, true) then error("a text for a shell has a NUL byte inside", 2) end
  if text ~= "" and not text:find("[^%w_@%%+=:,./-]") then return text end
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

--- Fills `{name}` in a snippet with the quoted value of that name; `${name}` is the shell's own. A missing name is an error.
function M.fill(snippet, values)
  return (snippet:gsub("(%$?){([%a_][%w_]*)}", function(dollar, name)
    if dollar ~= "" then return nil end
    local value = values[name]
    if value == nil then error("no value for {" .. name .. "} in a shell snippet", 3) end
    return M.quote(value)
  end))
end

-- fd 3 carries the report, one line a fact, each behind the run's own mark and on a line of its own whatever was printed
-- before; everything else that a command prints goes to stderr. Nothing reads the program's input but the shell itself.
M.PRELUDE = [[
exec 3>&1 1>&2 </dev/null
umask 022
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin; export PATH
say() { printf '\n%s %s\n' "$M" "$*" >&3; }
old() { if [ "$MODE" = check ]; then _v=$(base64 | tr -d '\n'); say old "$I" "$1" "$_v"; else cat >/dev/null; fi; }
oldis() { printf '%s' "$2" | old "$1"; }
look() { # PATH -> $mode, $owner (names), $ids
  _s=$(stat -c '%a %U:%G %u:%g' -- "$1" 2>/dev/null) || _s='- - -'
  mode=${_s%% *} _s=${_s#* }; owner=${_s%% *} ids=${_s#* }
}
digest() { _s=$(sha256sum <"$1" 2>/dev/null) && printf %s "${_s%% *}"; }
put() { # PATH MODE OWNER; `new` prints the content, and nothing happens to the file unless it succeeds
  [ ! -d "$1" ] || { echo "$1 is a directory" >&2; return 1; }
  _t=${1%/*}/.vmrun.$$; rm -f -- "$_t" || return
  trap 'rm -f -- "$_t"; exit 143' HUP INT TERM
  { (umask 077; set -C; new >"$_t") && chmod "$2" "$_t" && { [ -z "$3" ] || chown "$3" "$_t"; } && mv -f -- "$_t" "$1"; } ||
  { rm -f -- "$_t"; return 1; }
}
fetch() { # URL FILE
  if command -v curl >/dev/null 2>&1; then curl -fsSL --retry 3 --max-time "${3:-120}" -o "$2" -- "$1"
  else wget -q -T "${3:-120}" -O "$2" -- "$1"; fi
}
pending() { [ -e "$V/pending/$1" ]; }
notify() { mkdir -p "$V/pending" && : >"$V/pending/$1"; }
settle() { rm -f -- "$V/pending/$1"; }
apt_stale() { notify apt; }
apt_fresh() { # SECONDS
  if pending apt || [ -z "$(find /var/lib/apt/lists -maxdepth 1 -name '*Packages*' -mmin -60 2>/dev/null | head -n 1)" ]; then
    timeout -k 10 "$1" apt-get -o DPkg::Lock::Timeout=300 update -qq && settle apt
  fi
}
]]

return M
