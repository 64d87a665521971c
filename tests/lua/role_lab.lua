--- Roles without a kind, on a machine of machine.lua.
local fs = require "fs"
local role = require "role"
local task = require "task"

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

--- Looks for secrets in the arguments and environments of all processes, until the function that it returns is called; that one says
-- that they were in none.
function M.look(t, ...)
  local secrets = { ... }
  local looking, seen = true, 0
  local looker = task.spawn(function()
    while looking do
      for _, pid in ipairs(fs.list "/proc") do
        if pid:find "^%d+$" then
          for _, what in ipairs { "cmdline", "environ" } do
            local text = fs.read("/proc/" .. pid .. "/" .. what)
            if text then seen = seen + 1 end
            for _, secret in ipairs(text and secrets or {}) do
              if text:find(secret, 1, true) then return pid .. " " .. what .. ": " .. text end
            end
          end
        end
      end
      task.sleep(0.001)
    end
  end)
  return function()
    looking = false
    local ok, found = looker:join()
    t.ok(ok, found)
    t.eq(found, nil)
    t.ok(seen > 100, "it looked")
  end
end

return M
