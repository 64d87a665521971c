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
--       asks = { kernel = "uname -r" },                        -- snippets of sh whose output becomes answers; a check in which a
--                                                              -- task differs asks only in roles with `made` or `differs`
--       facts = { php = "php -v | head -n 1" },                -- facts of this role's own: host.php
--       outputs = { kernel = field.string {} },
--       results = function(answers, f) return { kernel = answers.kernel } end,
--       undo = function(host, f, ctx) ... end,                 -- when it is declared no more (optional): tasks
--       gone = function(f) return true end,                    -- (optional) there is nothing left to undo
--       become = "postgres",             -- who acts: root unless said; false: whoever logs in; or a function of f
--       differs = function(answers, f) return changes, note end, -- what the answers say that a plan shall show
--       made = "[ -e /etc/motd ]",       -- without it (optional) the thing is gone, not changed: what needs it waits for it
--       seen = function(ctx) end,        -- hears of each read
--       moves = function(ctx) return changes, lives, outputs end, -- the thing may outlive its host: what a plan shows when it is
--                                        -- not on the host that there is now, or will be; whether it lives; what is known of it
--     }
--
-- `host` declares tasks (stdlib/host/task/), in order. `host.ask(snippet)` brings the tasks so far about and returns what the
-- snippet printed, so that Lua can decide; `host.checking` is true where nothing may be changed; `host.flush()` runs the
-- notified handlers here instead of at the end. Facts are `host.os`, `codename`, `architecture`, `memory` (MiB), `processors`,
-- `kernel`, `boot_id`, `addresses` (a list), and the role's own: asked when first used, all at once, and from then on only
-- verified beside the checks.
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
  addresses = "{ ip -o addr show scope global 2>/dev/null || :; } | awk '{ sub(\"/.*\", \"\", $4); print $4 }'",
}

local function list_of_lines(text)
  local list = {}
  for line in text:gmatch("[^\n]+") do list[#list + 1] = line end
  return list
end

local FORMS = { memory = tonumber, processors = tonumber, addresses = list_of_lines }

-- The names that `host` knows.
local function known_names(page)
  local names = {}
  for _, name in ipairs(task_type.names()) do names[name] = true end
  for _, from in ipairs { FACTS, page.facts or {} } do
    for name in pairs(from) do names[name] = true end
  end
  return names
end

local function trimmed(text) return text and (text:gsub("%s+$", "")) end

-- What is known of hosts by the connections that told it: connection -> snippet -> what it printed.
local told_by = setmetatable({}, { __mode = "k" })

-- The facts of a host for one run of a role. `assumed` are those that it had when the role was last looked at: they are used
-- at once, and asked again beside the next program (`asks`, `heard`).
local Facts = {}
Facts.__index = Facts

local function new_facts(page, ctx, assumed)
  return setmetatable({ page = page, ctx = ctx, assumed = assumed, used = {} }, Facts)
end

function Facts:snippet(name) return FACTS[name] or self.page.facts and self.page.facts[name] end

function Facts:told()
  local conn = connection.open(self.ctx.target, self.ctx.fields.host)
  told_by[conn] = told_by[conn] or {}
  return told_by[conn]
end

function Facts:hear(answers)
  local told, right = self:told(), true
  for key, text in pairs(answers) do
    local name = key:match("^fact%.(.*)")
    if name then
      told[self:snippet(name)] = trimmed(text)
      right = right and (not self.used[name] or self.used[name] == trimmed(text))
      answers[key] = nil
    end
  end
  return right
end

function Facts:asks(asks)
  local all, told = {}, nil
  for name, snippet in pairs(asks or {}) do all[name] = snippet end
  if self.assumed then
    for name in pairs(self.used) do
      told = told or self:told()
      local snippet = self:snippet(name)
      if not told[snippet] then all["fact." .. name] = snippet end
    end
  end
  return all
end

-- advance: asks snippets, and returns what they printed.
function Facts:get(name, advance)
  local snippet = self:snippet(name)
  local text = self:told()[snippet] or self.assumed and self.assumed[name]
  if not text then
    local all = {}
    for _, from in ipairs { FACTS, self.page.facts or {} } do
      for other, how in pairs(from) do all["fact." .. other] = how end
    end
    self:hear(advance(all))
    text = self:told()[snippet] or ""
  end
  self.used[name] = text
  return FORMS[name] and FORMS[name](text) or text
end

-- A declaring host: collects tasks; `advance(tasks, asks)` brings a run of them about and returns the answers.
-- Handlers wait for the end or a flush; so do services that a later task notifies, since theirs is a second turn.
local function declarer(page, f, mode, facts, advance)
  local host = { address = f.host.address, checking = mode == "check" }
  local tasks, handlers, services, again, notes, titles = {}, {}, {}, {}, {}, {}
  local unfinished

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
    return trimmed(advance(batch(), { answer = snippet }, true).answer)
  end

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
    if facts:snippet(name) then return facts:get(name, function(asks) return advance({}, asks) end) end
    local found = task_type.find(name)
    if not found then refuse("there is no task type or fact '%s'%s", tostring(name), near.hint(name, known_names(page))) end
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

local function seconds_for(page, ctx, mode)
  return page.seconds or ctx.seconds or page.timeouts and page.timeouts[mode == "check" and "read" or "create"] or 600
end

-- What was assumed of a host and is not so.
local STALE = {}

-- One run through a role's tasks. advance(tasks, asks, decides): `decides` says that Lua goes on by the answers.
local function attempt(page, ctx, mode, declare, facts)
  local f, changes, changed, checked, last, hangs = ctx.fields, {}, 0, {}, nil, nil
  local become = page.become
  if type(become) == "function" then become = become(f) end
  local options = { timeout = seconds_for(page, ctx, mode), scope = page.name, become = become,
    progress = function(text) ctx:progress(text) end, output = function(line) ctx:output(line) end }

  -- A check of the same task twice would tell the same twice.
  local function fresh(tasks)
    local list = {}
    for _, t in ipairs(tasks) do
      if not checked[t] then list[#list + 1] = t end
      checked[t] = true
    end
    return list
  end

  local function advance(tasks, asks, decides)
    options.asks, options.hangs = facts:asks(asks), hangs
    local answers
    if mode == "check" then
      local found, differs
      found, answers, differs = run.check(ctx, f.host, fresh(tasks), options)
      table.move(found, 1, #found, #changes + 1, changes)
      last = differs or last
      if decides then hangs = last end
    else
      local count
      count, answers = run.apply(ctx, f.host, tasks, options)
      changed = changed + count
    end
    if not facts:hear(answers) then error(STALE, 0) end
    return answers
  end

  local host, complete = declarer(page, f, mode, facts, advance)
  local ok, why = pcall(declare, host, f, ctx)
  if not ok then
    if why == STALE or (facts.assumed and next(facts.used)) then error(STALE, 0) end
    if not hangs or fail.is(why) then error(why, 0) end
    -- It decides by what is not there yet.
    changes[#changes + 1] = { path = "tasks", new = run.known_after(hangs) }
  end
  local tasks, titles = complete()
  -- What becomes results alone is worth asking for where there are some.
  local sparing = not page.made and not page.differs
  options.if_same = sparing and (mode == "apply" or #changes == 0) and page.asks or nil
  local answers = advance(tasks, not sparing and page.asks or nil)
  for name, text in pairs(answers) do answers[name] = trimmed(text) end
  return mode == "check" and changes or changed, answers, titles
end

--- Runs a role's tasks in a mode ("check" or "apply"). Returns the changes (check) or how many tasks changed, the answers, the
-- titles of the tasks, and the facts that were used.
local function perform(page, ctx, mode, declare)
  local outputs = mode == "check" and ctx.prior and ctx.prior.outputs
  local facts = new_facts(page, ctx, outputs and outputs.facts)
  local ok, done, answers, titles = pcall(attempt, page, ctx, mode, declare, facts)
  if not ok and done == STALE then
    facts = new_facts(page, ctx)
    done, answers, titles = attempt(page, ctx, mode, declare, facts)
  elseif not ok then
    error(done, 0)
  end
  return done, answers, titles, facts.used
end

local function results(page, answers, f, titles, used)
  local outputs = page.results and page.results(answers, f) or {}
  outputs.tasks = json.array(titles)
  outputs.facts = next(used) and used or nil
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
  page.outputs.facts = field.map { field.string {}, doc = "The facts that they were declared by." }
  local taken = known_names {}
  for _, word in ipairs { "address", "checking", "ask", "flush" } do taken[word] = true end
  for fact in pairs(page.facts or {}) do
    if taken[fact] then error(("role %s: the fact '%s' has the name of another"):format(name, fact), 3) end
  end
  local timeouts = { read = 120, create = 1800, update = 1800, delete = 600 }
  for verb, seconds in pairs(page.timeouts or {}) do timeouts[verb] = seconds end
  page.timeouts = timeouts

  page.identity = page.identity or function(f)
    return f.host and f.host.address and ("%s/%s"):format(f.host.address, name) or nil
  end

  page.read = page.read or function(ctx)
    if page.seen then page.seen(ctx) end
    local made = ctx.prior and ctx.prior.outputs
    if has_unknown(ctx.unknown) then
      -- What the tasks will say hangs on values that come later.
      if not made or not page.moves or not ctx.unknown["host.host_keys"] then return ctx.prior and { outputs = made } or nil end
      local changes, _, known = page.moves(ctx)
      return { outputs = known, changes = changes }
    end
    local changes, answers, titles, used = perform(page, ctx, "check", page.tasks)
    -- A create that did not end has no outputs yet: what it is about is not there.
    if #changes > 0 and (not made or (page.made and answers.made ~= "yes")) then
      if not made or not page.moves then return nil end
      local moved, lives, known = page.moves(ctx)
      return lives and { outputs = known, changes = moved } or nil
    end
    local more, note
    if made and page.differs then more, note = page.differs(answers, ctx.fields) end
    table.move(more or {}, 1, more and #more or 0, #changes + 1, changes)
    local fresh = #changes == 0 and results(page, answers, ctx.fields, titles, used) or ctx.prior.outputs
    add_dropped(changes, ctx.prior, titles)
    return { fields = ctx.fields, outputs = fresh, changes = changes, note = note }
  end

  local function apply(ctx)
    connection.wait(ctx.target, ctx.fields.host, page.timeouts.create, function(text) ctx:progress(text) end)
    local _, answers, titles, used = perform(page, ctx, "apply", page.tasks)
    return { outputs = results(page, answers, ctx.fields, titles, used) }
  end
  page.create = page.create or apply
  page.update = page.update or apply
  -- What a role did stays on the host, unless the role says how to undo it.
  if not page.delete and not page.undo then page.leaves = "what it did stays on the host" end
  page.delete = page.delete or function(ctx)
    if not page.undo or page.gone and page.gone(ctx.fields) then return end
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
