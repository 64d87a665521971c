--- Cases of the task types about people, certificates, links and archives: see test_host_tasks.lua.
local M = { stubs = {}, cases = {} }

return M
