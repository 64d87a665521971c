--- reboot: the machine goes down and comes up again, after the command's connection had time to end.
local task = require "task"
local world = require "emulator.world"

return function(machine)
  task.spawn(function()
    task.sleep(0.05)
    world.machines.restart(machine.id)
  end)
  return 0
end
