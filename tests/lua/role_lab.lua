--- Roles without a kind, on a machine of machine.lua.
local role = require "role"

local M = {}

M.PAGE = { name = "test.role", timeouts = { read = 20, create = 20 } }

--- What a step of the engine gives a role. `told` has its progress, `said` what commands printed.
function M.context(m, changes)
  local ctx = { target = { kind = "none" }, fields = { host = m }, told = {}, said = {} }
  function ctx:progress(text) table.insert(self.told, text) end
  function ctx:output(line) table.insert(self.said, line) end
  for name, value in pairs(changes or {}) do ctx[name] = value end
  return ctx
end

--- The changes, the answers, the titles and the facts.
function M.check(m, declare, page, changes) return role.perform(page or M.PAGE, M.context(m, changes), "check", declare) end

--- How many tasks changed, the answers, the progress and the output.
function M.apply(m, declare, page, changes)
  local ctx = M.context(m, changes)
  local changed, answers = role.perform(page or M.PAGE, ctx, "apply", declare)
  return changed, answers, ctx.told, ctx.said
end

return M
