--- Restarts a host and waits until it runs again, which its boot id tells.
local connection = require "host.connection"
local fail = require "fail"
local task = require "task"

local BOOT_ID = "cat /proc/sys/kernel/random/boot_id"

-- Prints the boot that is, then ends it. Whoever has no systemd has a command of that name.
local RESTART = BOOT_ID .. [[ && if [ -d /run/systemd/system ]; then systemctl reboot; else reboot; fi]]

local function boot_id(text) return text:match("%x+%-%x+%-%x+%-%x+%-%x+") end

--- host: as connections have it. seconds: the deadline. command(text): what runs text there as root. title: for messages.
return function(ctx, host, title, seconds, command, progress)
  local deadline = task.now() + seconds
  local function refuse(text, code, ...) error(fail { ("%s: `%s`: " .. text):format(host.address, title, ...), code = code }) end
  local function left() return math.max(0, deadline - task.now()) end

  progress(("%s: restarting"):format(host.address))
  local conn = connection.open(ctx.target, host)
  local heard = ""
  local function hear(chunk) heard = heard .. chunk end
  local result, message, code = conn:exec(command(RESTART), { timeout = 30, on_stdout = hear })
  local before = boot_id(heard)
  if not before then refuse("it does not tell its boot id: %s", "task", result and result.stderr or message) end
  if result and result.code ~= 0 and not result.signal then
    refuse("the host cannot be restarted (exit code %d): %s", "task", result.code, (result.stderr:gsub("%s+$", "")))
  elseif not result and code ~= "lost" and code ~= "timeout" then
    refuse("%s", code, message)
  end

  -- A connection that is held tells when the host has let go of it.
  conn:exec(("exec sleep %d"):format(math.ceil(left())), { timeout = left() })
  connection.drop(host, conn)

  local pause = 0.5
  while true do
    local ok, found = pcall(connection.wait, ctx.target, host, math.max(1, left()), progress)
    if not ok then
      refuse("the host did not come back within %g s after its restart: %s", "unreachable", seconds, tostring(found))
    end
    local answer = found:exec(BOOT_ID, { timeout = 30 })
    local id = answer and boot_id(answer.stdout)
    if id and id ~= before then return end
    if left() == 0 then
      refuse("the host did not restart within %g s: it still is in the same boot (%s)", "task", seconds, before)
    end
    connection.drop(host, found)
    task.sleep(math.min(pause, left()))
    pause = math.min(pause * 1.6, 5)
  end
end
