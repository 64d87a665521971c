--- Cases of the task types that edit settings, and of units, disks and reboots: see test_host_tasks.lua.
local M = { stubs = {}, cases = {} }

return M
