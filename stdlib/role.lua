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
--       made = "[ -e /etc/motd ]",       -- without it (optional) the thing is gone, not changed: what needs it waits for it
--     }
--
-- `host` declares tasks (stdlib/host/task/), in order. `host.ask(snippet)` brings the tasks so far about and returns what the
-- snippet printed, so that Lua can decide; `host.checking` is true where nothing may be changed; `host.flush()` runs the
-- notified handlers here instead of at the end; `host.facts.NAME` are `os`, `codename`, `architecture`, `memory` (MiB), `processors`, `kernel`, `boot_id`.
local connection = require "host.connection"
local fail = require "fail"
local field, json, kind = require "field", require "json", require "kind"
local near = require "recipe.nearest"
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
-- Handlers wait for the end or a flush; so do services that a later task notifies, since theirs is a second turn.
local function declarer(page, f, mode, advance)
  local host = { address = f.host.address, user = f.host.user, checking = mode == "check" }
  local tasks, handlers, services, again, notes, titles = {}, {}, {}, {}, {}, {}
  local unfinished, facts

  local function refuse(text, ...) error(("role %s: " .. text):format(page.name, ...), 0) end

  local function finished()
    if unfinished then refuse("%s has no fields; write {} after its name", unfinished) end
  end

  local function batch()
    finished()
    local list = tasks
    tasks = {}
    return list
  end

  function host.flush()
    finished()
    for _, t in ipairs(again) do tasks[#tasks + 1] = t end
    for _, t in ipairs(handlers) do tasks[#tasks + 1] = t end
    again = {}
  end

  function host.ask(snippet)
    return trimmed(advance(batch(), { answer = snippet }).answer)
  end

  host.facts = setmetatable({}, { __index = function(_, name)
    if not FACTS[name] then refuse("there is no fact '%s'%s", tostring(name), near.hint(name, FACTS)) end
    facts = facts or advance({}, FACTS)
    local text = trimmed(facts[name]) or ""
    return NUMBERS[name] and tonumber(text) or text
  end })

  local function add(found, title, given)
    local ok, declared = pcall(task_type.declare, found, title, given, page.name)
    if not ok then error(type(declared) == "string" and ("role %s: %s"):format(page.name, declared) or declared, 0) end
    for _, name in ipairs(declared.notify) do
      notes[#notes + 1] = { task = declared, name = name }
      if services[name] then again[#again + 1] = services[name] end
    end
    local list = tasks
    if found.name == "handler" then
      list, handlers[title] = handlers, declared
    elseif found.handles then
      services[title] = declared
    end
    list[#list + 1] = declared
    titles[#titles + 1] = declared.title
    return declared
  end

  setmetatable(host, { __index = function(_, name)
    local found, message = task_type.find(name)
    if not found then refuse("%s", message) end
    return function(title)
      if type(title) == "table" then return add(found, found.name, title) end
      finished()
      unfinished = ("%s \"%s\""):format(name, title)
      return function(given)
        unfinished = nil
        return add(found, title, given)
      end
    end
  end })

  local function complete()
    for _, note in ipairs(notes) do
      if not services[note.name] and not handlers[note.name] then
        refuse("`%s` notifies '%s', but no service or handler has that name", note.task.title, note.name)
      end
    end
    host.flush()
    return batch(), titles
  end
  return host, complete
end

-- What is not declared any more stays on the host as it is; that is said once.
local function add_dropped(changes, prior, titles)
  local declared = {}
  for _, title in ipairs(titles) do declared[title] = true end
  for _, title in ipairs(prior and prior.outputs and prior.outputs.tasks or {}) do
    if not declared[title] then
      changes[#changes + 1] = { path = title, old = "declared", new = "no longer declared; stays on the host as it is" }
    end
  end
end

--- Runs a role's tasks in a mode ("check" or "apply"). Returns the changes (check) or how many tasks changed, the answers, and
-- the titles of the tasks.
local function perform(page, ctx, mode, declare)
  local f, changes, changed, checked = ctx.fields, {}, 0, {}
  local options = { timeout = page.timeouts and page.timeouts[mode == "check" and "read" or "create"] or 600,
    progress = function(text) ctx:progress(text) end }

  -- A check of the same task twice would tell the same twice.
  local function fresh(tasks)
    local list = {}
    for _, t in ipairs(tasks) do
      if not checked[t] then list[#list + 1] = t end
      checked[t] = true
    end
    return list
  end

  local function advance(tasks, asks)
    options.asks = asks
    if mode == "check" then
      local found, answers = run.check(ctx, f.host, fresh(tasks), options)
      for _, change in ipairs(found) do changes[#changes + 1] = change end
      return answers
    end
    local count, answers = run.apply(ctx, f.host, tasks, options)
    changed = changed + count
    return answers
  end

  local host, complete = declarer(page, f, mode, advance)
  declare(host, f, ctx)
  local tasks, titles = complete()
  local answers = advance(tasks, page.asks)
  for name, text in pairs(answers) do answers[name] = trimmed(text) end
  return mode == "check" and changes or changed, answers, titles
end

local function results(page, answers, f, titles)
  local outputs = page.results and page.results(answers, f) or {}
  outputs.tasks = json.array(titles)
  return outputs
end

local function has_unknown(unknown)
  return unknown and next(unknown) ~= nil
end

local function define(name, page)
  local fields = { host = field.resource { "ssh.host", required = true, replace = true, doc = "The host." } }
  for key, spec in pairs(page.inputs or {}) do fields[key] = spec end
  page.fields, page.name = fields, name
  page.outputs = page.outputs or {}
  page.asks = page.asks or {}
  if page.made then page.asks.made = ("if { %s\n} >/dev/null 2>&1; then echo yes; fi"):format(page.made) end
  page.outputs.tasks = field.list { field.string {}, doc = "The tasks that were declared." }
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
    local changes, answers, titles = perform(page, ctx, "check", page.tasks)
    -- A create that did not end has no outputs yet: what it is about is not there.
    local made = ctx.prior and ctx.prior.outputs
    if #changes > 0 and (not made or (page.made and answers.made ~= "yes")) then return nil end
    local fresh = #changes == 0 and results(page, answers, ctx.fields, titles) or ctx.prior.outputs
    add_dropped(changes, ctx.prior, titles)
    return { fields = ctx.fields, outputs = fresh, changes = changes }
  end

  local function apply(ctx)
    connection.wait(ctx.target, ctx.fields.host, page.timeouts.create, function(text) ctx:progress(text) end)
    local _, answers, titles = perform(page, ctx, "apply", page.tasks)
    return { outputs = results(page, answers, ctx.fields, titles) }
  end
  page.create = page.create or apply
  page.update = page.update or apply
  -- What a role did stays on the host, unless the role says how to undo it.
  page.delete = page.delete or function(ctx)
    if not page.undo then return end
    local ok, why = pcall(perform, page, ctx, "apply", page.undo)
    if ok then return end
    -- A host that is gone or dying has nothing to undo; one that only cannot be reached keeps what it has.
    if not (fail.is(why) and why.code == "unreachable") then error(why, 0) end
    return { note = ("%s: what %s did on the host stays there: %s"):format(ctx.address, name, why.message) }
  end
  return kind(name)(page)
end

return setmetatable({ perform = perform, fail = fail }, { __call = function(_, name)
  return function(page) return define(name, page) end
end })
