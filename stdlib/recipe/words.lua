--- The words of recipes: use, params, param, each, component, outputs, moved, removed, check, requires, file and the pure functions.
local declare, field, kind, near = require "declare", require "field", require "kind", require "recipe.nearest"
local json = require "json"
local now = require "recipe.current"
local checks = require "recipe.checks"
local param, value, version = require "recipe.param", require "recipe.value", require "recipe.version"

local M = {}

local data, is = value.data, value.is

local function span_of(place, word)
  local source = now.source(place)
  return source and source:member(place.line, word)
end

-- Declaring a resource.

local LIFECYCLE = { after = true, protect = true, create_before_destroy = true, ignore_changes = true, replace_triggered_by = true,
  timeouts = true }

-- Where a problem of a field stands: the key or the value in the text, else the head of the declaration.
local function field_span(source, place, written, problem)
  local declaration = source and source:declaration(place.line, written.word, written.name)
  if not declaration then return nil end
  local span
  if declaration.open and #problem.path > 0 then
    local path = problem.path
    span = source:field(declaration.open, path, problem.part)
  end
  return span or declaration.head
end

local function text_of(page, name) return ('%s "%s"'):format(page.name, name) end

local function report(written, place, problems)
  if not problems[1] then return end
  local source = now.source(place)
  local head = written.text or text_of(written.page, written.name)
  for _, problem in ipairs(problems) do
    local span = field_span(source, place, written, problem)
    local text = problem.text
    local joint = text:find("^'") and ": " or " "
    now.problem({ file = place.file, line = span and span.line or place.line }, head .. joint .. text, span)
  end
end

local function each_of(given, fn)
  if given == nil then return end
  if type(given) == "table" and not is(given) then
    for _, item in ipairs(given) do fn(item) end
  else
    fn(given)
  end
end

-- How long each verb may take, in seconds.
local function timeouts(decl, page, given, wrong)
  if given == nil or is(given, "poison") then return end
  local named = type(given) == "table" and not is(given)
  for key in next, named and given or {} do named = named and type(key) == "string" end
  if not named then
    return wrong("timeouts", ("'timeouts' wants a table such as { create = 600 }, got %s"):format(field.describe_value(given)))
  end
  for _, verb in ipairs(value.sorted_keys(given)) do
    local seconds = given[verb]
    if not kind.verbs[verb] or type(page[verb]) ~= "function" then
      wrong("timeouts", ("'timeouts' names %s, which %s does not do%s"):format(field.describe_value(verb), page.name,
        not kind.verbs[verb] and near.hint(verb, kind.verbs) or ""))
    elseif type(seconds) ~= "number" or seconds <= 0 then
      wrong("timeouts", ("'timeouts.%s' wants seconds, got %s"):format(verb, field.describe_value(seconds)))
    else
      declare.timeout(decl, verb, seconds)
    end
  end
end

local function lifecycle(decl, page, written, place, given)
  local problems = {}
  local function wrong(name, text) problems[#problems + 1] = { path = { name }, text = text } end
  local function dependency(name, add)
    each_of(given[name], function(item)
      local d = data(item)
      if d and d.class ~= "secret" then
        if d.class ~= "poison" then add(decl, d.expr) end
      else
        wrong(name, ("'%s' wants resources or their outputs, got %s"):format(name, field.describe_value(item)))
      end
    end)
  end
  dependency("after", declare.after)
  dependency("replace_triggered_by", declare.trigger)
  for _, name in ipairs { "protect", "create_before_destroy" } do
    if given[name] ~= nil and type(given[name]) ~= "boolean" and not is(given[name], "poison") then
      wrong(name, ("'%s' wants true or false, got %s"):format(name, field.describe_value(given[name])))
    end
  end
  timeouts(decl, page, given.timeouts, wrong)
  declare.lifecycle(decl, given.protect == true, given.create_before_destroy == true)
  each_of(given.ignore_changes, function(path)
    local first = type(path) == "string" and path:match("^[%w_]+")
    if path == "*" or path == "all" then
      declare.ignore(decl, "*")
    elseif first and page.fields[first] then
      declare.ignore(decl, path)
    elseif first then
      wrong("ignore_changes", ("'ignore_changes' names the field '%s', which %s does not have%s"):format(first, page.name,
        near.hint(first, page.fields)))
    else
      wrong("ignore_changes", ("'ignore_changes' wants names of fields, got %s"):format(field.describe_value(path)))
    end
  end)
  report(written, place, problems)
end

-- The fields of a resource in their canonical form; true when words of every resource are among them.
local function checked(page, name, file, line, given)
  local fields, more = declare.accept(page.fields, given), false
  if fields and not page.check then return fields, more end
  local problems = {}
  if not fields then fields, more = field.check_fields(page.fields, given, {}, problems, LIFECYCLE) end
  if page.check then page.check(fields, function(path, message, part) problems[#problems + 1] = { path = path, text = message, part = part } end) end
  report({ word = page.word, page = page, name = name }, { file = file, line = line }, problems)
  return fields, more
end

-- Sets what a declaration's fields say. Most can be said at once; what raises is noted, and the rest goes on.
local function fill(decl, page, name, file, line, fields)
  local source = now.sources[file]
  local declaration = source and source:declaration(line, page.word, name)
  local specs, names, lines = page.fields, page.sorted, declaration and source:key_lines(declaration)
  local i = declare.fill(decl, fields, names, specs, file, line, lines, 1)
  while i do
    local key = names[i]
    local ok, expr = xpcall(value.to_expr, now.caught, fields[key], specs[key])
    local at = lines and lines[key] or line
    if ok then
      declare.set(decl, key, expr, file, at)
    else
      expr.place, expr.span = { file = file, line = at }, declaration and source:key(declaration, key)
      expr.message = text_of(page, name) .. ": '" .. key .. "': " .. expr.message
      now.note(expr)
    end
    i = declare.fill(decl, fields, names, specs, file, line, lines, i + 1)
  end
end

local function declare_resource(page, handle, name, file, line, given)
  if type(given) ~= "table" then
    if is(given, "poison") then return given end
    now.problem({ file = file, line = line }, ("%s wants a table of fields, got %s"):format(text_of(page, name),
      field.describe_value(given)))
    return value.poison()
  end
  if page.own_name and given[page.own_name] == nil then
    local named = { [page.own_name] = name }
    for key, item in next, given do named[key] = item end
    given = named
  end
  local fields, more = checked(page, name, file, line, given)
  local decl, message = declare.add(handle, name, now.prefix, now.scope, file, line)
  if not decl then
    local place = { file = file, line = line }
    now.problem(place, message, (field_span(now.source(place), place, { word = page.word, name = name }, { path = {} })))
    return value.poison()
  end
  fill(decl, page, name, file, line, fields)
  if more then lifecycle(decl, page, { word = page.word, page = page, name = name }, { file = file, line = line }, given) end
  return value.resource { class = "resource", decl = decl, expr = declare.ref(decl), page = page, name = name, fields = fields, scope = now.scope }
end

local function name_problem(what, name)
  if declare.is_name(name) then return nil end
  if type(name) ~= "string" then return ("%s wants a name first, such as %s \"main\" { ... }, got %s"):format(what, what, field.describe_value(name)) end
  return ("%s wants a name of letters, digits, '_', '-' and '.', got %q"):format(what, name)
end

-- What stands for a resource without a proper name.
local function refuse_name(page, name)
  if is(name, "poison") then return name end
  local place = now.place()
  now.problem(place, name_problem(page.name, name), span_of(place, page.word))
  return value.poison()
end

-- use

local function kinds_of(provider)
  local names = {}
  for _, path in ipairs(declare.stdlib()) do
    local name = path:match("^" .. provider .. "/([%w_]+)%.lua$")
    if name and name ~= "init" then
      local ok, page = pcall(kind.find, provider .. "." .. name)
      if ok and page then names[#names + 1] = name end
    end
  end
  for _, name in ipairs(M.libraries.kinds(provider)) do names[#names + 1] = name end
  return names
end

local INTERNAL = { check = true, recipe = true, emulator = true, cli = true }

local function providers()
  local seen, names = {}, {}
  for _, path in ipairs(declare.stdlib()) do
    local name = path:match("^([%w_]+)/")
    if name and not seen[name] and not INTERNAL[name] then
      seen[name] = true
      names[#names + 1] = name
    end
  end
  return names
end
M.providers = providers

-- What a name of a provider stands for: a kind, or what a page makes of the words (a component).
local function resolve(provider, name, words)
  local page = not INTERNAL[provider] and kind.find(provider .. "." .. name) or M.libraries.kind(provider, name)
  if not page then
    local ok, made = pcall(require, provider .. "." .. name)
    if ok and type(made) == "function" and not INTERNAL[provider] then return made(words) end
    return nil
  end
  if not kind.is(page) then return page end
  local handle, message = declare.kind(page.name, page)
  if not handle then now.raise(message) end
  return declare.constructor(page, handle, now, declare_resource, refuse_name)
end

local function provider_table(provider, words)
  local found = setmetatable({}, { -- those that were found cost no call
    __index = function(known, name)
      local one = type(name) == "string" and resolve(provider, name, words)
      if not one then
        return now.fault(("%s has no kind '%s'%s"):format(provider, tostring(name), near.hint(name, kinds_of(provider))), name)
      end
      known[name] = one
      return one
    end,
  })
  return setmetatable({}, {
    __metatable = false,
    __index = found,
    __newindex = function(_, name) now.raise(("%s cannot be assigned"):format(provider .. "." .. tostring(name)), name) end,
    __call = function() now.raise(("%s is a provider; pick one of its kinds, such as %s.%s"):format(provider, provider,
      kinds_of(provider)[1] or "kind"), provider) end,
  })
end

local function known_provider(name)
  for _, known in ipairs(providers()) do
    if known == name then return true end
  end
  return M.libraries.has(name)
end

local function use(words)
  return function(...)
    local found = {}
    for i = 1, select("#", ...) do
      local name = select(i, ...)
      if type(name) ~= "string" then now.raise(("use wants names, got %s"):format(field.describe_value(name)), "use") end
      if known_provider(name) then
        found[i] = provider_table(name, words)
      else
        local place = now.place()
        local source = now.source(place)
        now.problem(place, ("no provider '%s'%s"):format(name, near.hint(name, providers())), source and source:quoted(place.line, name))
        found[i] = value.poison()
      end
    end
    return table.unpack(found, 1, select("#", ...))
  end
end

-- params and outputs

local function strict(values, known, what)
  setmetatable(values, {
    __index = function(_, name)
      if known[name] then return nil end
      return now.fault(("no %s '%s'%s"):format(what, tostring(name), near.hint(name, known)), name)
    end,
  })
  return setmetatable({}, {
    __metatable = false,
    __index = values,
    __newindex = function(_, name) now.raise(("%s '%s' cannot be assigned"):format(what, tostring(name)), name) end,
    __pairs = function()
      local keys, i = value.sorted_keys(values), 0
      return function()
        i = i + 1
        if keys[i] ~= nil then return keys[i], values[keys[i]] end
      end
    end,
  })
end

local function params(specs)
  local place = now.place()
  if place.file ~= now.path then now.raise("only the recipe itself declares parameters, not a library", "params") end
  if now.told then now.raise("parameters are declared once", "params") end
  if type(specs) ~= "table" then now.raise("params wants a table, such as params { name = param.string {} }", "params") end
  local values, told, known = param.settle(specs, now.given, declare.environment)
  now.told, now.known = told, known
  return strict(values, known, "parameter")
end

local function outputs(given)
  local place = now.place()
  if type(given) ~= "table" or is(given) then now.raise("outputs wants a table, such as outputs { name = value }", "outputs") end
  if place.file ~= now.path then now.raise("only the recipe itself declares outputs, not a library", "outputs") end
  local source = now.source(place)
  local call = source and source:call(place.line, "outputs")
  local order = source and source:order(call and call.open) or {}
  local names = value.sorted_keys(given)
  table.sort(names, function(a, b)
    local x, y = order[a] or math.huge, order[b] or math.huge
    if x ~= y then return x < y end
    return tostring(a) < tostring(b)
  end)
  for _, name in ipairs(names) do
    local span = call and call.open and source:field(call.open, { name }, "name")
    local line = span and span.line or place.line
    if type(name) ~= "string" then
      now.problem(place, "outputs have names: outputs { address = host.address }")
    else
      local ok, expr = xpcall(value.to_expr, now.caught, given[name])
      if ok then
        local added, message = declare.output(name, expr, place.file, line)
        if not added then now.problem({ file = place.file, line = line }, message, span) end
      else
        expr.place, expr.span = { file = place.file, line = line }, span
        now.note(expr)
      end
    end
  end
end

-- each and component

local function each(collection, fn)
  if type(fn) ~= "function" then now.raise("each wants a list and a function: each(list, function(item) ... end)", "each") end
  local d = data(collection)
  if d and d.class == "poison" then return collection end
  if not d then
    if type(collection) ~= "table" then
      now.raise(("each wants a list, got %s"):format(field.describe_value(collection)), "each")
    end
    local results = {}
    for i, item in ipairs(collection) do results[i] = now.guard(fn, item, i) end
    return results
  end
  local scope, item
  if d.class == "list" then
    scope, item = d.scope, d.value
  elseif d.class == "reference" then
    local decl = declare.collection(d.expr)
    if not decl then
      now.raise(("each wants a list that the recipe knows, or the members of a collection such as %s; got %s"):format(
        "azure.virtual_machine_scale_set.workers.instances", value.text(d)), "each")
    end
    local message
    scope, message = declare.scope(decl)
    if not scope then now.raise(message, "each") end
    item = value.reference(declare.item(scope), d.spec and d.spec.elem)
  else
    now.raise(("each wants a list, got %s"):format(value.text(d)), "each")
  end
  if now.scope and now.scope ~= scope then
    now.raise("an each inside another one goes over the same members, or over a list that the recipe knows", "each")
  end
  local was = now.scope
  now.scope = scope
  local result = now.guard(fn, item)
  now.scope = was
  return value.list(scope, result)
end

local COMPONENT = { inputs = true, build = true, doc = true }

local function inputs_of(component, instance, place, given)
  local text = ('%s "%s"'):format(component.name, instance)
  local written = { word = component.name, name = instance, text = text }
  if type(given) ~= "table" or is(given) then
    if is(given, "poison") then return nil end
    now.problem(place, ("%s wants a table of inputs, got %s"):format(text, field.describe_value(given)))
    return nil
  end
  local problems = {}
  local got = field.check_fields(component.inputs, given, {}, problems)
  for _, problem in ipairs(problems) do problem.text = problem.text:gsub("^has no field", "has no input") end
  report(written, place, problems)
  for _, problem in ipairs(problems) do
    local name = problem.missing or problem.path[1]
    if name and got[name] == nil and component.inputs[name] then got[name] = value.poison() end
  end
  return strict(got, component.inputs, "input")
end

local function instantiate(component, instance, place, given)
  local address = now.prefix .. component.name .. "." .. instance
  local before = now.components[address]
  if before then
    now.problem(place, ('%s "%s" is declared twice; the first one is at %s:%d'):format(component.name, instance, before.file, before.line),
      span_of(place, component.name))
    return value.poison()
  end
  now.components[address] = place
  local input = inputs_of(component, instance, place, given)
  if not input then return value.poison() end
  local was = now.prefix
  now.prefix = address .. "/"
  local result = now.guard(component.build, input, instance)
  now.prefix = was
  return result
end

local function component(name)
  local problem = name_problem("component", name)
  if problem then now.raise(problem, "component") end
  return function(definition)
    local place = now.place()
    if type(definition) ~= "table" then now.raise("component wants a table with inputs and build", "component") end
    local source = now.source(place)
    local written = source and source:declaration(place.line, "component", name)
    for key in pairs(definition) do
      if not COMPONENT[key] then
        now.problem(place, ('component "%s" has no part \'%s\'%s'):format(name, tostring(key), near.hint(key, COMPONENT)),
          written and written.open and source:field(written.open, { key }, "name"))
      end
    end
    if type(definition.build) ~= "function" then
      now.raise(('component "%s" needs build = function(input) ... end'):format(name), name)
    end
    local made = { name = name, inputs = definition.inputs or {}, build = definition.build }
    for key, spec in pairs(made.inputs) do
      if not field.is(spec) then
        now.raise(('component "%s": input \'%s\' wants a type such as param.string {}'):format(name, tostring(key)), key)
      end
    end
    return function(instance)
      local at = now.place()
      if is(instance, "poison") then return instance end
      local wrong = name_problem(name, instance)
      if wrong then
        now.problem(at, wrong, span_of(at, name))
        return value.poison()
      end
      local prefix, scope = now.prefix, now.scope
      at.page, at.name = made, instance
      now.pending[at] = true
      return function(given)
        now.pending[at] = nil
        local was_prefix, was_scope = now.prefix, now.scope
        now.prefix, now.scope = prefix, scope
        local result = instantiate(made, instance, at, given)
        now.prefix, now.scope = was_prefix, was_scope
        return result
      end
    end
  end
end

-- moved and removed

local function address_of(given, word)
  local d = data(given)
  if d and d.class == "resource" and d.decl then return declare.address(d.decl) end
  if type(given) == "string" and given ~= "" then return given end
  now.raise(("%s wants an address such as \"azure.subnet.nodes\", got %s"):format(word, field.describe_value(given)), word)
end

local function moved(given)
  if type(given) ~= "table" or is(given) then now.raise("moved wants a table: moved { from = \"old address\", to = \"new address\" }", "moved") end
  for key in pairs(given) do
    if key ~= "from" and key ~= "to" then
      now.raise(("moved has no part '%s'%s"):format(tostring(key), near.hint(key, { "from", "to" })), key)
    end
  end
  declare.moved(address_of(given.from, "moved"), address_of(given.to, "moved"))
end

local function removed(given)
  each_of(given, function(address) declare.removed(address_of(address, "removed")) end)
end

-- check and requires

local CHECK = { of = true, that = true, message = true, warn = true, after = true }

local function check_problem(name, given)
  if type(given) ~= "table" or is(given) then return ('check "%s" wants a table with `of` and `that`'):format(name) end
  for key in next, given do
    if not CHECK[key] then return ('check "%s" has no part \'%s\'%s'):format(name, tostring(key), near.hint(tostring(key), CHECK)), key end
  end
  if type(given.that) ~= "function" then return ('check "%s" needs that = function(...) ... end'):format(name), "that" end
end

local function check(name)
  local place = now.place()
  local problem = name_problem("check", name)
  if problem then
    now.problem(place, problem, span_of(place, "check"))
    return value.poison()
  end
  return function(given)
    local wrong, word = check_problem(name, given)
    if wrong then return now.fault(wrong, word or "check") end
    local page = kind.find "check.condition"
    local address = now.prefix .. page.name .. "." .. name
    local of = given.of
    if of == nil then of = {} elseif is(of) or type(of) ~= "table" then of = { of } end
    checks.tests[address] = given.that
    return declare_resource(page, declare.kind(page.name, page), name, place.file, place.line,
      { test = address, of = of, message = given.message, warn = given.warn, after = given.after })
  end
end

-- all, any and serial

-- Declares a join over resources; several may count their failures together.
local function join(word, place, members, tally)
  local page = kind.find "check.join"
  now.joins = now.joins + 1
  local made = declare_resource(page, declare.kind(page.name, page), ("%s-%d"):format(word, now.joins), place.file, place.line,
    { after = members })
  local d = data(made)
  if d and d.decl then declare.join_of(d.decl, tally, word == "any") end
  return made
end

-- Whether there is something to wait for in a value.
local function holds_any(given)
  local d = data(given)
  if d then return d.class ~= "secret" and (d.class ~= "list" or holds_any(d.value)) end
  for _, item in next, type(given) == "table" and given or {} do if holds_any(item) then return true end end
  return false
end

-- What is to meet: a list of resources, or what each() gives back, which may also stand in the list; and the table with the options.
local function members_of(word, given)
  if is(given, "list") then given = { given } end
  if type(given) ~= "table" or is(given) then now.raise(("%s wants a list of resources: %s { a, b }"):format(word, word), word) end
  local members = {}
  local function add(item)
    if is(item, "list") and not holds_any(item) then
      now.raise(("%s waits for resources, and this each() gives none back"):format(word), word)
    end
    members[#members + 1] = item
  end
  for key, item in next, given do
    if math.type(key) == "integer" then
      local several = type(item) == "table" and not is(item)
      for _, one in ipairs(several and item or { item }) do add(one) end
    elseif key ~= "max_fail" or word ~= "all" then
      now.raise(("%s has no part '%s'"):format(word, tostring(key)), key)
    end
  end
  if #members == 0 then now.raise(("%s wants at least one resource"):format(word), word) end
  return members, given
end

local function count_of(word, name, given, least)
  if given == nil or (math.type(given) == "integer" and given >= least) then return given end
  now.raise(("'%s' of %s wants a whole number of at least %d, got %s"):format(name, word, least, field.describe_value(given)), name)
end

local function all(given)
  if is(given, "poison") then return given end
  local members, options = members_of("all", given)
  return join("all", now.place(), members, declare.tally(count_of("all", "max_fail", options.max_fail, 0) or 0))
end

local function any(given)
  if is(given, "poison") then return given end
  return join("any", now.place(), members_of("any", given), declare.tally())
end

-- `at_once`: a number, or percents of all.
-- @return the number, and whether it is percents
local function at_once_of(given)
  local share = type(given) == "string" and tonumber(given:match("^(%d+)%%$"))
  if share and share > 0 then return share, true end
  if type(given) == "string" then
    now.raise(("'at_once' of serial wants a number or a share such as \"25%%\", got \"%s\""):format(given), "at_once")
  end
  return count_of("serial", "at_once", given, 1) or 1, false
end

local SERIAL = { at_once = true, max_fail = true }

-- Members that Azure decides about: one turn is declared, and the engine puts the members' turns in a line.
local function serial_members(collection, at_once, share, tally, place, each_item)
  return each(collection, function(item)
    local before = join("serial", place, {}, tally)
    local made = each_item(item, before)
    local d, gate = data(made), data(before)
    if is(made, "poison") or is(before, "poison") then return made end
    if not d or not d.decl or d.scope ~= gate.scope or d.decl == gate.decl then
      now.raise("the function of serial must return the resource that ends a member's turn", "serial")
    end
    declare.turn_of(gate.decl, d.decl, at_once, share)
    return made
  end)
end

local function serial(list, options, each_item)
  if each_item == nil then options, each_item = {}, options end
  local listed = type(list) == "table" or is(list)
  if not listed or type(options) ~= "table" or is(options) or type(each_item) ~= "function" then
    now.raise("serial wants a list, options and a function: serial(hosts, { at_once = 2, max_fail = 1 }, "
      .. "function(host, after) ... end)", "serial")
  end
  for key in next, options do
    if not SERIAL[key] then now.raise(("serial has no option '%s'%s"):format(tostring(key), near.hint(tostring(key), SERIAL)), key) end
  end
  local at_once, share = at_once_of(options.at_once)
  local place, tally = now.place(), declare.tally(count_of("serial", "max_fail", options.max_fail, 0) or 0)
  if is(list) then return serial_members(list, at_once, share, tally, place, each_item) end
  local width = share and math.max(1, #list * at_once // 100) or at_once
  local made = {}
  for i, item in ipairs(list) do
    local earlier = made[i - width]
    made[i] = each_item(item, earlier and join("serial", place, { earlier }, tally) or nil, i)
    if not data(made[i]) then now.raise("the function of serial must return the resource that ends an item's turn", "serial") end
  end
  return made
end

local function requires(given)
  if type(given) ~= "table" or is(given) then now.raise('requires wants a table, such as requires { vmrun = "~> 0.4" }', "requires") end
  for key, wanted in next, given do
    if key ~= "vmrun" then now.raise(("requires knows only vmrun, not '%s'"):format(tostring(key)), tostring(key)) end
    local fits, wrong = version.fits(declare.version(), wanted)
    if wrong then now.raise(("requires: %s"):format(wrong), "vmrun") end
    if not fits then
      now.raise(("this recipe requires vmrun %s, and this is %s"):format(wanted, declare.version()), "vmrun", "install a vmrun that fits")
    end
  end
end

-- Pure functions

local RETURNS = { yaml = "string", json = "string", base64 = "string", template = "string", sha256 = "string", join = "string",
  trim = "string", lower = "string", upper = "string", replace = "string", format = "string", indent = "string",
  length = "integer", cidr_host = "ip", cidr_subnet = "cidr" }

local function pure(name)
  local spec = field[RETURNS[name] or "any"] {}
  return function(...)
    local args = {}
    for i = 1, select("#", ...) do
      local item = select(i, ...)
      if is(item, "poison") then return item end
      args[i] = value.to_expr(item)
    end
    local expr, message = declare.call(name, args)
    if not expr then return now.fault(message, name) end
    return value.from_expr(expr, spec)
  end
end

--- All words beyond Lua's own, put into `words`.
function M.add(words)
  words.use = use(words)
  words.params, words.param, words.outputs = params, setmetatable({}, {
    __metatable = false,
    __index = function(_, name)
      local made = param.constructors[name]
      if made then return made end
      return now.fault(("no type of parameter '%s'%s"):format(tostring(name), near.hint(name, param.constructors)), name)
    end,
    __newindex = function() now.raise("param cannot be assigned", "param") end,
  }), outputs
  words.each, words.component, words.moved, words.removed = each, component, moved, removed
  words.check, words.requires = check, requires
  words.all, words.any, words.serial = all, any, serial
  words.null = json.null
  local fn = {}
  for _, name in ipairs(declare.functions()) do
    fn[name] = pure(name)
    if words[name] == nil then words[name] = fn[name] end
  end
  words.fn = setmetatable({}, {
    __metatable = false,
    __index = function(_, name)
      if fn[name] then return fn[name] end
      return now.fault(("no function '%s'%s"):format(tostring(name), near.hint(name, fn)), name)
    end,
    __newindex = function() now.raise("fn cannot be assigned", "fn") end,
  })
end

return M
