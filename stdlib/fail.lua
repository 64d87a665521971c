--- Failures of verbs: a table with a message for people, a code for programs and a hint about what to do next.
local meta = { __name = "failure" }

function meta.__tostring(self) return self.message end

local function make(_, given)
  local failure = { message = given.message or given[1], code = given.code or "failed", hint = given.hint,
    file = given.file, line = given.line }
  return setmetatable(failure, meta)
end

--- Whether a value is a failure made here (or raised by a native module in the same form).
local function is(value) return type(value) == "table" and type(value.message) == "string" end

--- Whether an error says nothing of the work: its task was cancelled, or a deadline around it (task.deadline) is over.
local function interrupted(value) return is(value) and (value.code == "cancelled" or value.deadline ~= nil) end

--- Passes results through; `nil, message, code` of a native module is raised as a failure.
local function check(first, message, code, ...)
  if first == nil and message ~= nil then
    error(make(nil, { tostring(message), code = code }), 2)
  end
  return first, message, code, ...
end

return setmetatable({ check = check, is = is, interrupted = interrupted }, { __call = make })
