--- A restart of the host, when it needs one. The tasks behind it go on in a second program, once the host runs again.
local field, task = require "field", require "host.task"

-- What was asked for is kept with the boot in which it was: one that has not come to its end is asked for again.
local CHECK = [==[read -r b </proc/sys/kernel/random/boot_id || return 2
  u= v=; [ ! -r "$V/restarts/"{mark} ] || { read -r u; IFS= read -r v; } <"$V/restarts/"{mark} || :
  [ "$u" != "$b" ] || { oldis restart "asked for, but not done yet"; return 1; }
  ! pending {mark} || { oldis restart notified; return 1; }
]==]

local PENDING = [==[
  if [ -e /run/reboot-required ]; then
    p=$(sort -u /run/reboot-required.pkgs 2>/dev/null | tr '\n' ' ')
    oldis restart "needed${p:+ by }${p% }"; return 1
  fi
  k=$(uname -r) n= f=${k#"${k%%-[a-z]*}"}
  for i in /boot/vmlinuz-*"$f"; do
    [ -e "$i" ] || continue
    i=${i#/boot/vmlinuz-}; [ "${i%%-[a-z]*}$f" = "$i" ] && n=$(printf '%s\n' "$i" $n | sort -V | tail -n 1)
  done
  [ -n "$n" ] && [ "$n" != "$k" ] && [ "$(printf '%s\n' "$k" "$n" | sort -V | tail -n 1)" = "$n" ] || return 0
  oldis restart "needed: $k runs, $n is installed"; return 1]==]

local ONCE = [==[
  [ "$v" = {once} ] || { [ -z "$v" ] || oldis restart "done for $v"; return 1; }]==]

return task "reboot" {
  doc = "Restarts the host when that is needed, waits for it, and goes on. A task may name it in `notify`.",
  fields = {
    when = field.choice { "pending", "notified", default = "pending",
      doc = "`pending`: a package asked for it, or a newer kernel is installed than runs. `notified`: a task asked for it." },
    once = field.string { match = "^[^%s\n][^\n]*$",
      doc = "Restart once for this text, instead of `when`: another text is another restart." },
  },
  handles = true,
  prepare = function(t) t.once = t.once or "" end,
  shown = function(t) return { restart = t.once ~= "" and "done for " .. t.once or "done", value = "restart" } end,
  check = function(t)
    return CHECK .. (t.once ~= "" and ONCE or t.when == "pending" and PENDING or "  return 0")
  end,
  restarts = true,
  apply = [==[read -r b </proc/sys/kernel/random/boot_id && mkdir -p "$V/restarts" &&
    printf '%s\n%s\n' "$b" {once} >"$V/restarts/"{mark} && settle {mark}]==],
}
