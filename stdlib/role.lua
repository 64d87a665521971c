--- Roles: what makes a host what it should be. `role "containerd.runtime" { ... }` gives a kind whose resources are reached
-- over SSH:
--
--     return role "example.motd" {
--       doc = "...",
--       inputs = { text = field.string { required = true } },
--       tasks = function(host, f)
--         host.file "/etc/motd" { content = f.text .. "\n", notify = "motd" }
--         host.handler "motd" { run = "run-parts /etc/update-motd.d" }
--       end,
--       asks = { kernel = "uname -r" },                        -- snippets of sh whose output becomes answers
--       outputs = { kernel = field.string {} },
--       results = function(answers, f) return { kernel = answers.kernel } end,
--     }
--
-- `host` declares tasks (stdlib/host/task/), in order. `host.ask(snippet)` brings the tasks so far about and returns what the
-- snippet printed, so that Lua can decide; `host.checking` is true where nothing may be changed; `host.flush()` runs the notified handlers here instead of at the end;
-- `host.facts.NAME` are `os`, `codename`, `architecture`, `memory` (MiB), `processors`, `kernel`, `boot_id`.
local connection = require "host.connection"
local fail = require "fail"
local field, kind = require "field", require "kind"
local run = require "host.run"
local task_type = require "host.task"

local FACTS = {
  os = ". /etc/os-release && printf %s \"$ID\"",
  codename = ". /etc/os-release && printf %s \"${VERSION_CODENAME:-}\"",
  architecture = "dpkg --print-architecture 2>/dev/null || uname -m",
  memory = "awk '/^MemTotal/ { printf \"%d\", $2 / 1024 }' /proc/meminfo",
  processors = "getconf _NPROCESSORS_ONLN",
  kernel = "uname -r",
  boot_id = "cat /proc/sys/kernel/random/boot_id",
}
local NUMBERS = { memory = true, processors = true }

local function trimmed(text) return text and (text:gsub("%s+$", "")) end

-- A declaring host: collects tasks; `advance(tasks, asks)` brings a run of them about and returns the answers.
local function declarer(page, f, mode, advance)
  local host = { address = f.host.address, user = f.host.user, hostname = f.host.hostname, checking = mode == "check" }
  local tasks, handlers, pending, facts = {}, {}, nil, {}

  local function names_of_listeners()
    local names = {}
    for _, t in ipairs(tasks) do if t.type.handles then names[#names + 1] = t.name end end
    for _, t in ipairs(handlers) do names[#names + 1] = t.name end
    return names
  end

  local function complete()
    if pending then error(("role %s: %s has no fields; write {} after its name"):format(page.name, pending), 0) end
    for _, t in ipairs(handlers) do tasks[#tasks + 1] = t end
    local known = {}
    for _, name in ipairs(names_of_listeners()) do known[name] = true end
    for _, t in ipairs(tasks) do
      for _, name in ipairs(t.notify) do
        if not known[name] then
          error(("role %s: `%s` notifies '%s', but no service or handler has that name"):format(page.name, t.title, name), 0)
        end
      end
    end
    local batch = tasks
    tasks = {}
    return batch
  end

  function host.flush()
    for _, t in ipairs(handlers) do tasks[#tasks + 1] = t end
  end

  function host.ask(snippet)
    return trimmed(advance(complete(), { answer = snippet }).answer)
  end

  host.facts = setmetatable({}, { __index = function(_, name)
    local snippet = FACTS[name]
    if not snippet then error("no fact '" .. tostring(name) .. "'", 2) end
    if facts[name] == nil then
      local text = trimmed(advance({}, { answer = snippet }).answer) or ""
      facts[name] = NUMBERS[name] and tonumber(text) or text
    end
    return facts[name]
  end })

  setmetatable(host, { __index = function(_, name)
    local found, message = task_type.find(name)
    if not found then error(("role %s: %s"):format(page.name, message), 2) end
    return function(title)
      if type(title) == "table" then return host[name](found.name)(title) end
      pending = ("%s \"%s\""):format(name, title)
      return function(given)
        pending = nil
        local ok, declared = pcall(task_type.declare, found, title, given)
        if not ok then error(type(declared) == "string" and ("role %s: %s"):format(page.name, declared) or declared, 0) end
        local list = found.name == "handler" and handlers or tasks
        list[#list + 1] = declared
        return declared
      end
    end
  end })
  return host, complete
end

--- Runs a role's tasks in a mode ("check" or "apply"). Returns the changes (check) or how many tasks changed, and the answers.
local function perform(page, ctx, mode, declare)
  local f, changes, changed = ctx.fields, {}, 0
  local options = { timeout = page.timeouts and page.timeouts[mode == "check" and "read" or "create"] or 600,
    progress = function(text) ctx:progress(text) end }

  local function advance(tasks, asks)
    options.asks = asks
    if mode == "check" then
      local found, answers = run.check(ctx, f.host, tasks, options)
      for _, change in ipairs(found) do changes[#changes + 1] = change end
      return answers
    end
    local count, answers = run.apply(ctx, f.host, tasks, options)
    changed = changed + count
    return answers
  end

  local host, complete = declarer(page, f, mode, advance)
  declare(host, f, ctx)
  local answers = advance(complete(), page.asks)
  for name, text in pairs(answers) do answers[name] = trimmed(text) end
  return mode == "check" and changes or changed, answers
end

local function results(page, answers, f)
  return page.results and page.results(answers, f) or {}
end

local function has_unknown(unknown)
  return unknown and next(unknown) ~= nil
end

local function define(name, page)
  local fields = { host = field.resource { "ssh.host", required = true, replace = true, doc = "The host." } }
  for key, spec in pairs(page.inputs or {}) do fields[key] = spec end
  page.fields, page.name = fields, name
  local timeouts = { read = 120, create = 1800, update = 1800, delete = 600 }
  for verb, seconds in pairs(page.timeouts or {}) do timeouts[verb] = seconds end
  page.timeouts = timeouts

  page.identity = page.identity or function(f)
    return f.host and f.host.address and ("%s/%s"):format(f.host.address, name) or nil
  end

  page.read = page.read or function(ctx)
    if has_unknown(ctx.unknown) then
      -- What the tasks will say hangs on values that come later.
      return ctx.prior and { fields = ctx.prior.fields, outputs = ctx.prior.outputs } or nil
    end
    local changes, answers = perform(page, ctx, "check", page.tasks)
    if #changes > 0 and not ctx.prior then return nil end
    local fresh = #changes == 0 and results(page, answers, ctx.fields) or ctx.prior.outputs
    return { fields = ctx.fields, outputs = fresh, changes = changes }
  end

  local function apply(ctx)
    connection.wait(ctx.target, ctx.fields.host, page.timeouts.create, function(text) ctx:progress(text) end)
    local _, answers = perform(page, ctx, "apply", page.tasks)
    return { outputs = results(page, answers, ctx.fields) }
  end
  page.create = page.create or apply
  page.update = page.update or apply
  -- What a role did stays on the host, unless the role says how to undo it.
  page.delete = page.delete or function(ctx)
    if page.undo then perform(page, ctx, "apply", page.undo) end
  end
  return kind(name)(page)
end

return setmetatable({ perform = perform, fail = fail }, { __call = function(_, name)
  return function(page) return define(name, page) end
end })
