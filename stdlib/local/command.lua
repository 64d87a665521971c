--- A command of this machine's shell, run once when it is created.
--
-- What it did is known by `creates` (a path that it makes) or `unless` (a command that succeeds when there is nothing to
-- do); without them, by the state. Commands reach the shell through the environment, so that no secret is in a process list.
local kind, field, fs, process, fail = require "kind", require "field", require "fs", require "process", require "fail"

local KEPT = 65536

local function shell(f, script, timeout)
  local env = process.environ()
  for name, value in pairs(f.env or {}) do env[name] = value end
  env.VMRUN_SCRIPT = script
  return fail.check(process.run { argv = { "/bin/sh", "-c", 'eval "$VMRUN_SCRIPT"' }, cwd = f.folder, env = env,
    timeout = timeout, max_output = KEPT })
end

local function run(ctx, script)
  local f = ctx.fields
  local result = shell(f, script, f.timeout or 600)
  if result.code ~= 0 then
    local said = (result.stderr ~= "" and result.stderr or result.stdout):gsub("%s+$", "")
    error(fail { ("the command ended with %s%s"):format(
      result.signal and "signal " .. result.signal or "exit code " .. tostring(result.code),
      said ~= "" and ": " .. said or ""), code = "command" })
  end
  return { outputs = { id = ctx.name, stdout = (result.stdout:gsub("\n$", "")) } }
end

local function done_already(f)
  if f.creates then return fs.stat(f.creates) ~= nil end
  if f["unless"] then return shell(f, f["unless"], 60).code == 0 end
  return nil
end

-- What the state has of it; a run that was killed before it ended left a row without outputs.
local function kept(ctx)
  local outputs = ctx.prior and ctx.prior.outputs
  return outputs and outputs.id and outputs or nil
end

return kind "local.command" {
  doc = "A command of this machine's shell, run when it is created, and again when `command` or `triggers` change.",
  fields = {
    command = field.string { required = true, replace = true, min = 1, doc = "What runs, by /bin/sh." },
    undo = field.string { ignore = true, doc = "What runs when it is destroyed." },
    creates = field.string { doc = "A path that it makes: with it there is nothing to do." },
    ["unless"] = field.string { doc = "A command that succeeds when there is nothing to do." },
    folder = field.string { doc = "The working folder." },
    env = field.map { field.string {}, doc = "More of the environment." },
    triggers = field.map { field.any {}, replace = true, doc = "Values whose change runs it again." },
    timeout = field.integer { min = 1, ignore = true, doc = "Seconds; 600 unless given." },
  },
  outputs = { id = field.string {}, stdout = field.string { doc = "What it wrote, without the last line end." } },
  timeouts = { read = 120, create = 3600, delete = 3600 },
  read = function(ctx)
    local done = done_already(ctx.fields)
    if done == false then return nil end
    local known = kept(ctx)
    if done == nil and not known then return nil end
    return { fields = {}, outputs = known or { id = ctx.name, stdout = "" } }
  end,
  create = function(ctx) return run(ctx, ctx.fields.command) end,
  update = function(ctx) return { outputs = ctx.prior and ctx.prior.outputs } end,
  delete = function(ctx)
    if ctx.fields.undo then run(ctx, ctx.fields.undo) end
  end,
}
