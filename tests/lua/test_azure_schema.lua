--- Schemas of ARM's types: both published forms of one small type, what is wrong with bodies by it, and `vmrun schema`.
-- With VMRUN_ARM_TYPES (a folder of JSON Schema files) all of these are taken, too.
local test = require "tap"
local fs, json, process = require "fs", require "json", require "process"
local schema = require "azure.schema"

local TYPE, VERSION = "Sample.Things/widgets", "2024-01-01"
local NAME = TYPE .. "@" .. VERSION

local function ref(n) return { ["$ref"] = "#/" .. n } end
local function property(n, flags, description) return { type = ref(n), flags = flags or 0, description = description } end

-- Flags: 1 required, 2 read-only, 8 constant at deployment.
local function definitions()
  local list = {
    [0] = { ["$type"] = "StringType" },
    { ["$type"] = "StringType", minLength = 3, maxLength = 12, pattern = "^[a-z][a-z0-9]*$" },
    { ["$type"] = "StringLiteralType", value = "Small" },
    { ["$type"] = "StringLiteralType", value = "Large" },
    { ["$type"] = "UnionType", elements = { ref(2), ref(3) } },
    { ["$type"] = "UnionType", elements = { ref(2), ref(3), ref(0) } },
    { ["$type"] = "ObjectType", name = "Sku", properties = { name = property(4, 1), tier = property(5) } },
    { ["$type"] = "ObjectType", name = "Tags", properties = {}, additionalProperties = ref(0) },
    { ["$type"] = "IntegerType", minValue = 1, maxValue = 100 },
    { ["$type"] = "BooleanType" },
    { ["$type"] = "StringType", sensitive = true, minLength = 8 },
    { ["$type"] = "ObjectType", name = "Part", properties = { name = property(0, 1), size = property(8), next = property(11) } },
    { ["$type"] = "ArrayType", itemType = ref(11), minLength = 1, maxLength = 2 },
    { ["$type"] = "ObjectType", name = "PortRule", properties = { kind = property(14, 1), port = property(8, 1) } },
    { ["$type"] = "StringLiteralType", value = "Port" },
    { ["$type"] = "ObjectType", name = "NameRule", properties = { kind = property(16, 1), host = property(0) } },
    { ["$type"] = "StringLiteralType", value = "Name" },
    { ["$type"] = "DiscriminatedObjectType", name = "Rule", discriminator = "kind", baseProperties = { note = property(0) },
      elements = { Port = ref(13), Name = ref(15) } },
    { ["$type"] = "AnyType" },
    { ["$type"] = "UnionType", elements = { ref(8), ref(9) } },
    { ["$type"] = "ObjectType", name = "Properties", properties = { sizeGB = property(8, 0, "How large it is."), enabled = property(9),
      code = property(1), word = property(10), parts = property(12), rule = property(17), anything = property(18),
      either = property(19), state = property(0, 2) } },
    { ["$type"] = "ObjectType", name = TYPE, properties = { id = property(0, 10), name = property(1, 9), type = property(0, 10),
      apiVersion = property(0, 10), location = property(0, 1), sku = property(6), tags = property(7), properties = property(20) } },
    { ["$type"] = "ResourceType", name = NAME, body = ref(21), readableScopes = 8, writableScopes = 8 },
  }
  return table.move(list, 0, #list, 1, json.array {})
end

local function text_schema(more)
  local made = { type = "string" }
  for key, value in pairs(more or {}) do made[key] = value end
  return made
end

local function json_schema()
  local size = { type = "integer", minimum = 1, maximum = 100 }
  local choice = { enum = { "Small", "Large" } }
  local name = text_schema { minLength = 3, maxLength = 12, pattern = "^[a-z][a-z0-9]*$" }
  local function case(value, properties, required)
    properties.kind, properties.note = { const = value }, text_schema()
    return { type = "object", properties = properties, required = required, additionalProperties = false }
  end
  local read_only = text_schema { readOnly = true }
  return {
    title = NAME, ["x-type"] = TYPE, ["x-api-version"] = VERSION, ["x-name"] = name, type = "object", additionalProperties = false,
    required = { "location" },
    properties = { id = read_only, name = read_only, type = read_only, apiVersion = read_only, location = text_schema(),
      tags = { type = "object", additionalProperties = text_schema() }, sku = { ["$ref"] = "#/$defs/Sku", description = "Which." },
      properties = { ["$ref"] = "#/$defs/Properties" } },
    ["$defs"] = {
      Sku = { type = "object", additionalProperties = false, required = { "name" },
        properties = { name = choice, tier = { anyOf = { choice, { type = "string" } } } } },
      Part = { type = "object", additionalProperties = false, required = { "name" },
        properties = { name = text_schema(), size = size, next = { ["$ref"] = "#/$defs/Part", description = "Inside." } } },
      Properties = { type = "object", additionalProperties = false, properties = {
        sizeGB = size, enabled = { type = "boolean" }, code = name,
        word = text_schema { ["x-sensitive"] = true, minLength = 8 }, state = read_only, anything = {},
        parts = { type = "array", items = { ["$ref"] = "#/$defs/Part" }, minItems = 1, maxItems = 2 },
        either = { anyOf = { size, { type = "boolean" } } },
        rule = { ["x-discriminator"] = "kind", oneOf = {
          case("Port", { port = size }, { "kind", "port" }), case("Name", { host = text_schema() }, { "kind" }) } } } },
    },
  }
end

-- What is kept is JSON: the schema as it comes back from its file.
local function kept(made) return assert(json.decode(assert(json.encode(made)))) end

local forms = {
  ["type definitions"] = function() return kept(schema.from_definitions(definitions(), TYPE, VERSION)) end,
  ["JSON Schema"] = function() return kept(schema.from_json_schema(json_schema(), TYPE, VERSION)) end,
}

local function body(properties, more)
  local made = { location = "westeurope", properties = properties }
  for key, value in pairs(more or {}) do made[key] = value end
  return made
end

local GOOD = {
  body(nil),
  body({ sizeGB = 100, enabled = false, code = "abc1", word = "long enough", anything = { a = { 1 } }, either = true },
    { tags = { ["any name"] = "x" }, sku = { name = "Small", tier = "some other" } }),
  body { sizeGB = 4.0, either = 7, parts = { { name = "a", next = { name = "b", next = { name = "c" } } } } },
  body { rule = { kind = "Port", port = 22, note = "ssh" } },
  body { rule = { kind = "Name", host = "h" } },
  body { parts = { { name = "a" }, { name = "b" } }, sizeGB = json.null },
}

-- A body, where something is wrong with it, and what.
local WRONG = {
  { body { sizeGb = 3 }, "body.properties.sizeGb",
    "has no property 'body.properties.sizeGb' (" .. NAME .. "); did you mean 'sizeGB'?", "name" },
  { body { quite_other = 3 }, "body.properties.quite_other", "has no property 'body.properties.quite_other' (" .. NAME .. ")", "name" },
  { body { parts = { { name = "a", nxt = { name = "b" } } } }, "body.properties.parts[1].nxt",
    "has no property 'body.properties.parts[1].nxt' (" .. NAME .. "); did you mean 'next'?", "name" },
  { body { sizeGB = "two" }, "body.properties.sizeGB", [['body.properties.sizeGB' wants an integer, got the text "two"]] },
  { body { sizeGB = 1.5 }, "body.properties.sizeGB", "'body.properties.sizeGB' wants an integer, got the number 1.5" },
  { body { sizeGB = 0 }, "body.properties.sizeGB", "'body.properties.sizeGB' wants at least 1, got 0" },
  { body { sizeGB = 101 }, "body.properties.sizeGB", "'body.properties.sizeGB' wants at most 100, got 101" },
  { body { enabled = "true" }, "body.properties.enabled", [['body.properties.enabled' wants true or false, got the text "true"]] },
  { body { code = 7 }, "body.properties.code", "'body.properties.code' wants text, got the number 7" },
  { body { code = "ab" }, "body.properties.code", "'body.properties.code' wants a length of at least 3, got 2" },
  { body { code = ("a"):rep(13) }, "body.properties.code", "'body.properties.code' wants a length of at most 12, got 13" },
  { body { code = "Abc" }, "body.properties.code",
    [['body.properties.code' wants text that matches "^[a-z][a-z0-9]*$", got the text "Abc"]] },
  { body { state = "x" }, "body.properties.state", "'body.properties.state' is read-only: ARM fills it in", "name" },
  { body(nil, { name = "x" }), "body.name", "'body.name' is not set here: give the field 'name'", "name" },
  { body(nil, { apiVersion = "x" }), "body.apiVersion", "'body.apiVersion' is not set here: give the field 'api_version'", "name" },
  { body(nil, { id = "x" }), "body.id", "'body.id' is read-only: ARM fills it in", "name" },
  { body(nil, { tags = { a = 1 } }), "body.tags.a", "'body.tags.a' wants text, got the number 1" },
  { body(nil, { sku = {} }), "body.sku", [[needs 'body.sku.name' (one of "Small", "Large")]] },
  { body(nil, { sku = { name = "large" } }), "body.sku.name",
    [['body.sku.name' wants one of "Small", "Large", got the text "large"; did you mean "Large"?]] },
  { body(nil, { sku = { name = "Small", tier = 1 } }), "body.sku.tier",
    [['body.sku.tier' wants text such as "Small", "Large", got the number 1]] },
  { body(nil, { sku = "Small" }), "body.sku", [['body.sku' wants a table, got the text "Small"]] },
  { body(nil, { sku = { "Small" } }), "body.sku", "'body.sku' wants a table, got a list" },
  { { properties = {} }, "body", "needs 'body.location' (text)" },
  { { location = json.null }, "body", "needs 'body.location' (text)" },
  { "text", "body", [['body' wants a table, got the text "text"]] },
  { body { parts = { name = "a" } }, "body.properties.parts", "'body.properties.parts' wants a list, got a table" },
  { body { parts = json.array {} }, "body.properties.parts", "'body.properties.parts' wants a length of at least 1, got 0" },
  { body { parts = { { name = "a" }, { name = "b" }, { name = "c" } } }, "body.properties.parts",
    "'body.properties.parts' wants a length of at most 2, got 3" },
  { body { parts = { { size = 3 } } }, "body.properties.parts[1]", "needs 'body.properties.parts[1].name' (text)" },
  { body { parts = { { name = "a", next = { name = "b", next = { name = "c", size = "x" } } } } },
    "body.properties.parts[1].next.next.size", [['body.properties.parts[1].next.next.size' wants an integer, got the text "x"]] },
  { body { either = "x" }, "body.properties.either", [['body.properties.either' wants an integer or true or false, got the text "x"]] },
  { body { rule = { note = "x" } }, "body.properties.rule", [[needs 'body.properties.rule.kind' (one of "Name", "Port")]] },
  { body { rule = { kind = "Prot" } }, "body.properties.rule.kind",
    [['body.properties.rule.kind' wants one of "Name", "Port", got the text "Prot"; did you mean "Port"?]] },
  { body { rule = { kind = "Name", port = 22 } }, "body.properties.rule.port",
    "has no property 'body.properties.rule.port' (" .. NAME .. ")", "name" },
  { body { rule = { kind = "Name", hots = "h" } }, "body.properties.rule.hots",
    "has no property 'body.properties.rule.hots' (" .. NAME .. "); did you mean 'host'?", "name" },
  { body { rule = { kind = "Port" } }, "body.properties.rule", "needs 'body.properties.rule.port' (an integer)" },
  { body { word = "brief" }, "body.properties.word", "'body.properties.word' wants a length of at least 8, got 5" },
  { body { word = 12345 }, "body.properties.word", "'body.properties.word' wants text, got a number" },
}

local function path_text(path) return require "field".path_text(path) end

for form, make in pairs(forms) do
  test("right bodies, by " .. form, function(t)
    local s = make()
    t.eq({ s.type, s.version }, { TYPE, VERSION })
    for i, good in ipairs(GOOD) do t.eq(schema.check(s, good, "widget1"), {}, "body " .. i) end
  end)

  test("wrong bodies, by " .. form, function(t)
    local s = make()
    for i, case in ipairs(WRONG) do
      local problems = schema.check(s, case[1])
      t.eq(#problems, 1, "body " .. i .. " (" .. case[3] .. ")")
      t.eq({ path_text(problems[1].path), problems[1].text, problems[1].part }, { case[2], case[3], case[4] }, "body " .. i)
    end
  end)

  test("several faults are all told, and a misspelt one that is required is told once, by " .. form, function(t)
    local s = make()
    local problems = schema.check(s, { locaton = "x", sku = { nam = "Small" }, properties = { sizeGB = {}, enabled = 1 } })
    local texts = {}
    for i, p in ipairs(problems) do texts[i] = path_text(p.path) end
    t.eq(texts, { "body.locaton", "body.properties.enabled", "body.properties.sizeGB", "body.sku.nam" })
    t.eq(#schema.check(s, nil), 1, "no body lacks what is required")
  end)

  test("the resource's name, by " .. form, function(t)
    local s = make()
    local problems = schema.check(s, body(nil), "9lives")
    t.eq({ problems[1].path, problems[1].text }, { { "name" },
      [['name' wants text that matches "^[a-z][a-z0-9]*$", got the text "9lives"]] })
    t.eq(#schema.check(s, body(nil), "ab"), 1)
  end)

  test("only what a check needs is kept, by " .. form, function(t)
    local text = json.encode(make())
    t.ok(not text:find("How large", 1, true) and not text:find("description", 1, true), "no descriptions")
    local texts, objects = 0, 0
    for _, node in ipairs(make().types) do
      texts = texts + (node.t == "string" and not next(node, next(node)) and 1 or 0)
      objects = objects + (node.t == "object" and 1 or 0)
    end
    t.eq({ texts, objects }, { 1, 8 }, "equal types are kept once")
  end)
end

test("JSON Schema: allOf, types with null, numbers, texts of any script", function(t)
  local s = kept(schema.from_json_schema({ type = "object", allOf = { { ["$ref"] = "#/definitions/Base" },
    { properties = { ratio = { type = "number", minimum = 0.5 } }, required = { "ratio" } } },
    properties = { maybe = { type = { "string", "null" } }, plain = { type = "string", pattern = "^[a-z]+$" },
      odd = { type = "string", pattern = "^\\p{L}$" }, deep = { ["$ref"] = "#/definitions/Base/properties/note" } },
    definitions = { Base = { properties = { note = { type = "string", maxLength = 2 } }, required = { "note" } } } }, TYPE, VERSION))
  t.eq(schema.check(s, { note = "é!", ratio = 0.5, maybe = json.null, other = 1, plain = "é", odd = "12" }), {},
    "without additionalProperties = false others are taken; patterns that we do not understand are let be")
  local texts = {}
  local wrong = { ratio = 0.25, maybe = 3, plain = "1", deep = "abc" }
  for i, p in ipairs(schema.check(s, wrong)) do texts[i] = path_text(p.path) .. ": " .. p.text end
  t.eq(texts, { "body.deep: 'body.deep' wants a length of at most 2, got 3", "body.maybe: 'body.maybe' wants text, got the number 3",
    [[body.plain: 'body.plain' wants text that matches "^[a-z]+$", got the text "1"]],
    "body.ratio: 'body.ratio' wants at least 0.5, got 0.25", "body: needs 'body.note' (text)" })
  local closed = kept(schema.from_json_schema({ type = "object", additionalProperties = false, properties = { a = {} } },
    TYPE, VERSION))
  t.has(schema.check(closed, { name = "x" })[1].text, "'body.name' is not set here")
  local patterns = kept(schema.from_json_schema({ type = "object", additionalProperties = false,
    patternProperties = { ["^x-"] = { type = "string" } } }, TYPE, VERSION))
  t.eq(schema.check(patterns, { ["x-a"] = "b" }), {}, "properties by pattern may be any")
  t.fails("#/definitions/None, which is not there", schema.from_json_schema,
    { type = "object", properties = { a = { ["$ref"] = "#/definitions/None" } } }, TYPE, VERSION)
  t.fails("other.json#/x, which is not in its file", schema.from_json_schema,
    { type = "object", properties = { a = { ["$ref"] = "other.json#/x" } } }, TYPE, VERSION)
  t.fails("is no object in this schema", schema.from_json_schema, { dependencies = {} }, TYPE, VERSION)
end)

test("what the schema calls sensitive is not said", function(t)
  local s = kept(schema.from_json_schema({ type = "object", properties = { login = { type = "object", ["x-sensitive"] = true,
    properties = { word = { type = "string", pattern = "^[a-z]+$" }, kind = { enum = { "hunter1" } } } } } }, TYPE, VERSION))
  local problems = schema.check(s, { login = { word = "HUNTER2", kind = "hunter2" } })
  t.eq(#problems, 2)
  for _, p in ipairs(problems) do t.ok(not p.text:lower():find("hunter2", 1, true), p.text) end
end)

test("type definitions: what is not in them", function(t)
  t.eq(schema.from_definitions(definitions(), TYPE, "2024-02-02"), nil)
  t.eq(schema.resources(definitions()), { NAME })
  local list = definitions()
  list[22].properties.location.type = ref(99)
  t.fails("not in its file", schema.from_definitions, list, TYPE, VERSION)
  list[22].properties.location.type = { ["$ref"] = "other/types.json#/1" }
  t.fails("not in its file", schema.from_definitions, list, TYPE, VERSION)
end)

-- The command. Each place has its own data folder.

local function place(t)
  local folder = t.tmp()
  local self = { folder = folder, stored = folder .. "/data/vmrun/schemas/sample.things_widgets@2024-01-01.json" }
  function self.write(name, text)
    local path = folder .. "/" .. name
    assert(fs.mkdir(path:match "^(.*)/"))
    assert(fs.write(path, type(text) == "table" and json.encode(text) or text))
    return path
  end
  function self.run(...)
    return assert(process.run { argv = { process.self(), ... }, cwd = folder, timeout = 60,
      env = { XDG_DATA_HOME = folder .. "/data", HOME = folder, NO_COLOR = "1",
        VMRUN_STDLIB = fs.realpath(process.env "VMRUN_STDLIB" or "") or false, AZURE_SUBSCRIPTION_ID = false } })
  end
  function self.good(...)
    local got = self.run(...)
    t.eq(got.code, 0, got.stderr)
    return got.stdout
  end
  function self.bad(...)
    local got = self.run(...)
    t.eq(got.code, 1, got.stdout)
    return got.stderr
  end
  return self
end

local function checkout(p, index)
  p.write("az/generated/things/sample.things/2024-01-01/types.json", definitions())
  if index then
    p.write("az/generated/index.json", { resources = { [NAME] = { ["$ref"] = "things/sample.things/2024-01-01/types.json#/22" },
      [TYPE .. "@2023-01-01"] = { ["$ref"] = "things/sample.things/2023-01-01/types.json#/7" } } })
  end
  return p.folder .. "/az"
end

test("schema add, list and remove", function(t)
  local p = place(t)
  t.eq(p.good("schema", "list"), "no schemas: azure.resource is not checked\n")
  local file = p.write("widgets.json", json_schema())
  t.has(p.good("schema", "add", NAME, "--from", file), NAME .. ": ")
  local first = json.decode(fs.read(p.stored))
  t.eq({ first.type, first.version, first.from }, { TYPE, VERSION, file })
  t.has(p.good("schema", "list"), NAME)
  t.eq(json.decode(p.good("schema", "list", "--json"))[1].type, TYPE)
  t.has(p.bad("schema", "remove", "Sample.Things/widget@2024-01-01"), "did you mean '" .. NAME .. "'?")
  t.eq(p.good("schema", "remove", NAME), NAME .. " is no longer checked\n")
  t.eq(fs.stat(p.stored), nil)
  t.has(p.bad("schema", "remove", NAME), "there is no schema of " .. NAME)
end)

test("where schemas are taken from", function(t)
  local p = place(t)
  local plain = checkout(p, false)
  local function from() return json.decode(fs.read(p.stored)).from end
  p.good("schema", "add", NAME:lower(), "--from", plain)
  t.eq(from(), plain .. "/generated/things/sample.things/2024-01-01/types.json", "a checkout without its index")
  t.eq(json.decode(fs.read(p.stored)).type, TYPE, "the name as it is published")
  p.good("schema", "remove", NAME)
  local indexed = checkout(p, true)
  p.good("schema", "add", NAME, "--from", indexed)
  p.good("schema", "remove", NAME)
  p.good("schema", "add", NAME, "--from", indexed .. "/generated/things/sample.things/2024-01-01/types.json")
  t.has(p.bad("schema", "add", TYPE .. "@2020-01-01", "--from", indexed), "of " .. TYPE .. " there are 2023-01-01, 2024-01-01")
  t.has(p.bad("schema", "add", "Sample.Things/wigdets@2024-01-01", "--from", indexed), "did you mean '" .. TYPE .. "'?")
  p.write("schemas/Sample.Things_widgets@2024-01-01.json", json_schema())
  p.good("schema", "add", NAME, "--from", "schemas")
  t.eq(from(), p.folder .. "/schemas/Sample.Things_widgets@2024-01-01.json")
  t.has(p.bad("schema", "add", TYPE .. "@2023-01-01", "--from", "schemas"), "of " .. TYPE .. " there is 2024-01-01")
  t.has(p.bad("schema", "add", TYPE .. "@2023-01-01", "--from", "schemas/Sample.Things_widgets@2024-01-01.json"),
    "is the schema of " .. NAME)
end)

test("schema used wrongly", function(t)
  local p = place(t)
  t.has(p.bad("schema"), "schema wants a verb: add, list or remove")
  t.has(p.bad("schema", "lsit"), "did you mean 'list'?")
  t.has(p.bad("schema", "add", NAME), "add wants --from DIR or FILE")
  t.has(p.bad("schema", "add", TYPE, "--from", "."), "'" .. TYPE .. "' is no TYPE@VERSION")
  t.has(p.bad("schema", "add", "../../x/y@2024-01-01", "--from", "."), "is no TYPE@VERSION")
  t.has(p.bad("schema", "add", NAME, "--from", "nowhere"), "nowhere")
  t.has(p.bad("schema", "add", NAME, "--from", "."), "has no " .. NAME)
  t.has(p.bad("schema", "add", NAME, "--from", p.write("x.json", "{")), "holds no JSON")
  t.eq(fs.stat(p.folder .. "/data"), nil, "nothing was kept")
end)

local RECIPE = [[
local azure = use "azure"
local p = params { word = param.secret {}, size = param.integer { default = 3 } }
local group = azure.resource_group "main" { name = "rg", location = "westeurope" }
local other = azure.public_ip_address "front" { group = group }
azure.resource "widget" {
  type = "Sample.Things/widgets", api_version = "2024-01-01", parent = group,
  body = {
    location = group.location,
    sku = { name = %s },
    properties = { sizeGB = %s, word = %s, enabled = other.ip, parts = { { name = other.id .. "/x" } } },
  },
}
]]

test("a recipe is checked from then on, where its text is wrong", function(t)
  local p = place(t)
  p.write("good.lua", RECIPE:format('"Small"', "p.size", "p.word"))
  p.write("bad.lua", RECIPE:format('"Smal"', "group", "{ p.word }"))
  p.write("other.lua", (RECIPE:format('"Smal"', "group", "{ p.word }"):gsub("2024%-01%-01", "2024-01-02")))
  p.write("word", "hunter2")
  p.good("check", "bad.lua", "word=@word")
  p.good("schema", "add", NAME, "--from", checkout(p, true))
  p.good("check", "good.lua", "word=@word")
  p.good("check", "other.lua", "word=@word")
  local message = [[
bad.lua:9: azure.resource "widget": 'body.sku.name' wants one of "Small", "Large", got the text "Smal"; did you mean "Small"?
        sku = { name = "Smal" },
                       ^^^^^^
bad.lua:10: azure.resource "widget": 'body.properties.sizeGB' wants an integer, got azure.resource_group "main"
        properties = { sizeGB = group, word = { p.word }, enabled = other.ip, parts = { { name = other.id .. "/x" } } },
                                ^^^^^
bad.lua:10: azure.resource "widget": 'body.properties.word' wants text, got a table
        properties = { sizeGB = group, word = { p.word }, enabled = other.ip, parts = { { name = other.id .. "/x" } } },
                                       ^^^^
]]
  t.eq(p.bad("check", "bad.lua", "word=@word"), message)
  t.eq(p.bad("plan", "bad.lua", "word=@word", "--subscription", "00000000-0000-0000-0000-000000000001"), message,
    "a plan asks Azure for nothing")
  p.write("named.lua", (RECIPE:format('"Small"', "p.size", "p.word"):gsub('"widget"', '"widget-1"')))
  t.has(p.bad("check", "named.lua", "word=@word"), [[named.lua:5: azure.resource "widget-1": 'name' wants text that matches]])
  p.good("schema", "remove", NAME)
  p.good("check", "bad.lua", "word=@word")
end)

test("secrets are no numbers, and are not said", function(t)
  local p = place(t)
  p.good("schema", "add", NAME, "--from", checkout(p, true))
  p.write("bad.lua", RECIPE:format('"Small"', "p.word", "p.word"))
  p.write("word", "hunter2")
  local message = p.bad("check", "bad.lua", "word=@word")
  t.has(message, "'body.properties.sizeGB' wants an integer, got a secret")
  t.ok(not message:find("hunter2", 1, true))
end)

test("a schema that cannot be read is an error, and can be removed", function(t)
  local p = place(t)
  p.write("good.lua", RECIPE:format('"Small"', "p.size", "p.word"))
  p.write("word", "hunter2")
  for _, text in ipairs { "{", '{"format": 99, "types": [{"t": "any"}], "body": 1}', '{"format": 1, "types": [], "body": 1}' } do
    p.write("data/vmrun/schemas/sample.things_widgets@2024-01-01.json", text)
    t.has(p.bad("check", "good.lua", "word=@word"), "holds no schema that this vmrun can read")
    t.has(p.good("schema", "list"), "holds no schema")
  end
  p.good("schema", "remove", NAME)
  p.good("check", "good.lua", "word=@word")
end)

test("all schemas of VMRUN_ARM_TYPES", function(t)
  local folder = process.env "VMRUN_ARM_TYPES"
  if not folder or folder == "" then t.skip "VMRUN_ARM_TYPES names no folder" end
  local count = 0
  for _, name in ipairs(assert(fs.list(folder))) do
    local stem = name:match "^(.*)%.json$"
    if stem then
      local root = assert(json.decode(assert(fs.read(folder .. "/" .. name))))
      local type_name, version = schema.split((stem:gsub("_", "/")))
      local text = json.encode(schema.from_json_schema(root, type_name, version))
      t.ok(#text < #fs.read(folder .. "/" .. name), name .. " is smaller")
      local s = json.decode(text)
      t.eq(s.type .. "@" .. s.version, root.title, name)
      for _, p in ipairs(schema.check(s, {})) do t.has(p.text, "needs 'body.") end
      local settable = {}
      for key, value in pairs(root.properties) do settable[#settable + 1] = not value.readOnly and key or nil end
      for _, key in ipairs(settable) do
        local problems = schema.check(s, { [key .. "x"] = "y" })
        t.has(problems[1].text, ("has no property 'body.%sx' (%s); did you mean '%s'?"):format(key, root.title, key))
      end
      if root.properties.properties then
        t.has(schema.check(s, { properties = 1 })[1].text, "'body.properties' wants a table, got the number 1")
      end
      count = count + 1
    end
  end
  t.ok(count > 0, "there are some")
end)

test.done()
