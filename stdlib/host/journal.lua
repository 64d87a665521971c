--- An applying program on the host outlives its connection. It writes what it reports into a journal beside sending it, in
-- `run` under vmrun's folder there: `ROLE.pid` (process, start, session, boot, mark) and `ROLE.log`. Whoever lost the connection
-- comes back and reads on; whoever comes later waits for its end; whoever cancels ends it with its children. The journal goes
-- when its end was told, so one that stays belongs to a program that is still at work, or that nobody has heard to its end.
-- `ROLE.life` is a FIFO that the program holds open for writing: who reads it hears its end, however it ends. It stays for the
-- next run.
local shell = require "host.shell"

local M = {}

--- Where vmrun keeps things on the host, and this role's journal in it.
function M.place(scope, home)
  local folder = home and '"$HOME/.local/state/vmrun"' or "/var/lib/vmrun"
  return ("V=%s; J=$V/run/%s"):format(folder, shell.quote((scope:gsub("[^%w_.-]", "_"))))
end

-- A process id alone does not tell a process: it may be another's by now.
local COMMON = [[
born() { # PID -> $b, its start, and $s, its session
  b= s=; [ -r "/proc/$1/stat" ] && read -r _l <"/proc/$1/stat" || return
  set -- ${_l##*) }; s=$4 b=${20}
}
alive() {
  [ -r "$J.pid" ] && read -r p q s0 u m <"$J.pid" && read -r _u </proc/sys/kernel/random/boot_id &&
  [ "$u" = "$_u" ] && born "$p" && [ "$b" = "$q" ]
}
gone() { rm -f -- "$J.pid" "$J.log"; }
]]

--- In front of checks: what is being changed cannot be checked.
M.CHECK = [[
if [ -e "$J.pid" ]; then
]] .. COMMON .. [[
  if alive; then say busy; exit 0; fi
  gone
fi
]]

--- In front of the tasks of an applying program. It ends by itself, or by `M.cancel`, and not by its connection's end.
M.OPEN = COMMON .. [[
[ -d "$V/run" ] || [ -d "$V/run" ] || mkdir -p -m 700 "$V/run" || exit
born $$ && read -r u </proc/sys/kernel/random/boot_id || exit
[ -p "$J.life" ] || mkfifo -m 600 "$J.life" || [ -p "$J.life" ] || exit
exec 9<>"$J.life" # before anybody can know of it: who finds it closed takes the program for ended
begin() { set -C; { echo "$$ $1 $2 $u $M" >"$J.pid"; } 2>/dev/null; set -- $?; set +C; return $1; }
begin "$b" "$s" || {
  _b=$b _s=$s
  if alive; then say busy; exit 0; fi
  gone; begin "$_b" "$_s" || { echo "cannot write $J.pid" >&2; exit 1; }
}
umask 077
printf '' >"$J.log" || { gone; exit 1; }
umask 022
trap : HUP INT TERM
{
exec 3>&1 2>&1 9>&-
]]

--- Behind them. Only a report that could be sent to its end takes the journal away.
M.CLOSE = [[
} | (trap '' HUP PIPE; exec tee "$J.log" >&3 9>&-)
printf '\n%s over\n' "$M" >>"$J.log"
trap '' PIPE
if say over 2>/dev/null; then exec rm -f -- "$J.pid" "$J.log"; fi]]

-- Opening for reading alone would wait for a writer; descriptor 7 ends with the program.
local WAIT = COMMON .. [[
[ -p "$J.life" ] && read -r _ _ _ _ M <"$J.pid" || exit 0
exec 8<>"$J.life" && exec 7<"$J.life" 8>&-
]]

-- Where a network has gone without a word, the sshd of the lost connection still holds what the program writes to, and takes no
-- more than a window of it: the program would wait until that sshd gives up. So that one ends now, as where it hears of the loss.
-- Never the first process: in a container that may be the sshd of all.
local FREE = [[
free() { # PROCESS
  while [ "$1" -gt 1 ] && read -r _l 2>/dev/null <"/proc/$1/stat"; do
    _c=${_l#*\(}
    case ${_c%\)*} in sshd | sshd-session) kill "$1" 2>/dev/null; return ;; esac
    set -- ${_l##*) }; set -- "$2"
  done
}
if alive; then free "$p"; fi
]]

--- A command that follows a journal to its end, then tells all of it again from the start and takes it away. It prints nothing
-- when there is none. lost: the connection that the program was sent over was ours, and is no more.
function M.follow(scope, home, lost)
  return M.place(scope, home) .. "\n" .. WAIT .. (lost and FREE or "") .. [[
if alive; then tail -n +1 -f "$J.log" 7<&- & t=$!; read -r _ <&7; kill $t; fi
printf '\n%s again\n' "$M"; cat "$J.log" 2>/dev/null; gone]]
end

--- A command that ends a program with all its children, and takes the journal away.
function M.cancel(scope, home)
  return M.place(scope, home) .. "\n" .. WAIT .. [[
end() { for i in /proc/[0-9]*; do born "${i#/proc/}" && [ "$s" = "$s0" ] && kill -s "$1" "${i#/proc/}" 2>/dev/null; done; }
if alive; then end TERM; timeout 10 head -n 1 <&7 >/dev/null || end KILL; fi
gone]]
end

return M
