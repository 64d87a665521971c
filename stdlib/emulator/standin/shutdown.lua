--- shutdown [-r] now: off, or off and on.
local task = require "task"
local world = require "emulator.world"

return function(machine, call)
  local again = false
  for i = 2, #call.argv do again = again or call.argv[i] == "-r" end
  task.spawn(function()
    task.sleep(0.05)
    if again then world.machines.restart(machine.id) else world.machines.stop(machine.id) end
  end)
  return 0
end
