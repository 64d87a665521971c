--- Runs one verb of a kind, within its deadline, and gives its result in the form that the engine takes.
local task, fail, log = require "task", require "fail", require "log"
local mock = require "recipe.mock"

local M = {}

-- A text that was raised is a mistake in the kind's page: its trace goes to the log.
local function handler(err)
  if type(err) == "string" then log.debug("%s", debug.traceback(err, 2)) end
  return err
end

local function call(verb, ctx, argument)
  local ok, result = xpcall(verb, handler, ctx, argument)
  return { ok = ok, result = result }
end

local shape = {}

function shape.read(result)
  if result == nil then return { absent = true } end
  return result
end
function shape.add(result)
  if type(result) == "table" and result.members then return result end
  return { members = result }
end

--- `page`: the kind; `verb`: its verb's name; `argument`: how many (add) or whose id (remove).
function M.run(page, verb, ctx, seconds, argument)
  if mock.stands_for(page) then return mock.run(page, verb, ctx, argument) end
  local started = task.now()
  local answer, message, code = task.deadline(seconds, call, page[verb], ctx, argument)
  local err = not answer and fail { tostring(message), code = code } or not answer.ok and answer.result
  if err then
    if type(err) == "table" and err.code == "timeout" and task.now() - started >= seconds then
      error(fail { ("%s did not end within %g s%s"):format(verb, seconds, ctx.waiting and ": " .. ctx.waiting or ""), code = "timeout",
        hint = "run it again: it goes on from what is there; or give it longer: timeouts = { " .. verb .. " = SECONDS }" })
    end
    if type(err) == "string" then
      error(fail { ("%s of %s failed in its own code: %s"):format(verb, page.name, err), code = "internal" })
    end
    error(err)
  end
  local result = answer.result
  if shape[verb] then result = shape[verb](result) end
  return result
end

return M
