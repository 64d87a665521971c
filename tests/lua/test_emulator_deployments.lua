-- Template deployments of the emulator: the expression language alone, and what a deployment does.
local test = require "tap"
local json = require "json"
local lab = require "emulator_lab"
local relaxed, template = require "emulator.arm.relaxed", require "emulator.arm.template"
local template_hash = require "emulator.arm.template_hash"

local function scope(more)
  local made = { subscription = "s", group = "g", tenant = "t", parameters = {}, variables = {}, variable_values = {}, evaluating = {}, copies = {},
    ids = {}, lookup = { group = function() return { id = "/subscriptions/s/resourceGroups/g", location = "westeurope" } end } }
  for key, item in pairs(more or {}) do made[key] = item end
  return made
end

local function value(text, more) return template.evaluate(text, scope(more)) end

test("what is no expression stays as it is", function(t)
  t.eq(value "plain", "plain")
  t.eq(value "[[escaped]", "[escaped]")
  t.eq(value "[not closed", "[not closed")
  t.eq(value { a = "[add(1, 2)]", ["[concat('k', 'ey')]"] = { "[toUpper('x')]", true } }, { a = 3, key = { "X", true } })
end)

local EXPRESSIONS = {
  { "concat('a', 'b', string(1))", "ab1" }, { "concat('it''s', ' so')", "it's so" }, { "format('{0}-{1:D2}', 'a', 7)", "a-7" },
  { "toLower('ABC')", "abc" }, { "trim('  x ')", "x" }, { "replace('a.b.c', '.', '%')", "a%b%c" }, { "substring('abcdef', 2, 3)", "cde" },
  { "startsWith('Abc', 'aB')", true }, { "endsWith('abc', 'x')", false }, { "indexOf('abc', 'C')", 2 }, { "padLeft('7', 3, '0')", "007" },
  { "split('a,b;c', createArray(',', ';'))[2]", "c" }, { "join(createArray('a', 'b'), '-')", "a-b" }, { "length('four')", 4 },
  { "length(createObject('a', 1, 'b', 2))", 2 }, { "empty('')", true }, { "empty(createArray(0))", false }, { "first('abc')", "a" },
  { "last(createArray(1, 2))", 2 }, { "skip('abc', 1)", "bc" }, { "take(createArray(1, 2, 3), 2)[1]", 2 }, { "range(3, 2)[1]", 4 },
  { "contains('abc', 'b')", true }, { "contains(createArray('x'), 'y')", false }, { "contains(createObject('k', 1), 'K')", true },
  { "union(createArray(1), createArray(1, 2))[1]", 2 }, { "union(createObject('a', 1), createObject('a', 2)).a", 2 },
  { "intersection(createArray(1, 2), createArray(2))[0]", 2 }, { "min(3, 1, 2)", 1 }, { "max(createArray(3, 4))", 4 }, { "mul(3, 4)", 12 },
  { "div(7, 2)", 3 }, { "mod(7, 2)", 1 }, { "sub(1, 3)", -2 }, { "equals('a', 'A')", false }, { "equals(null(), null())", true },
  { "less(1, 2)", true }, { "greaterOrEquals(2, 2)", true }, { "and(true(), not(false()))", true }, { "or(false(), false())", false },
  { "if(equals(1, 1), 'yes', div(1, 0))", "yes" }, { "coalesce(null(), 'x')", "x" }, { "base64ToString(base64('hi'))", "hi" },
  { "json('{\"a\": [1, 2]}').a[1]", 2 }, { "resourceId('Microsoft.Network/virtualNetworks/subnets', 'v', 's')",
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v/subnets/s" },
  { "resourceId('other', 'Microsoft.Compute/disks', 'd')", "/subscriptions/s/resourceGroups/other/providers/Microsoft.Compute/disks/d" },
  { "subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'r')", "/subscriptions/s/providers/Microsoft.Authorization/roleDefinitions/r" },
  { "extensionResourceId('/x', 'Microsoft.Insights/diagnosticSettings', 'd')", "/x/providers/Microsoft.Insights/diagnosticSettings/d" },
  { "resourceGroup().location", "westeurope" }, { "toLower(resourceGroup()['LOCATION'])", "westeurope" },
    { "uniqueString('test')", "rbgf3xv4ufgzg" },
  { "uniqueString('hello', 'world')", "a7wkljktk6wne" }, { "uniqueString('foo', 'bar', 'baz')", "xzi4ioaxtmth4" },
  { "equals(guid('a'), guid('a'))", true }, { "int('12')", 12 }, { "bool('true')", true }, { "uri('http://a/b/c', 'd')", "http://a/b/d" },
}

test("functions and properties", function(t)
  for _, row in ipairs(EXPRESSIONS) do t.eq(value("[" .. row[1] .. "]"), row[2], row[1]) end
end)

test("a template's hash is the service's own", function(t)
  -- The example of learn.microsoft.com/rest/api/resources/deployments/calculate-template-hash.
  local words, hash = template_hash.of [[{ "$schema": "http://schemas.management.azure.com/deploymentTemplate?api-version=2014-04-01-preview",
    "contentVersion": "1.0.0.0", "parameters": { "string": { "type": "string" } }, "variables": { "string": "string", "int": 42,
      "bool": true,
    "array": [1, 2, 3, 4], "object": { "object": { "vmSize": "Large", "location": "West US" } } }, "resources": [],
    "outputs": { "string": { "type": "string", "value": "myvalue" } } }]]
  t.eq(hash, "695440707931307747")
  t.has(words, '"VARIABLES":{"STRING":"STRING","INT":42,"BOOL":TRUE,"ARRAY":[1,2,3,4],')
end)

test("a template's hash does not depend on how it was written", function(t)
  local function hash(text) return select(2, template_hash.of(text, "properties", "template")) end
  local one = hash [[{"properties":{"template":{"$schema":"s","contentVersion":"1","parameters":{"p":{"type":"string","metadata":{"d":"x, y"}}},
    "resources":[{"type":"T/t","apiVersion":"1","name":"n","properties":{"b":[],"a":"\"}"}}]}}}]]
  t.eq(one, hash [[{"properties":{"mode":"Incremental","template":{"resources":[{"properties":{"b": [ ],"a":"\u0022}"},"name":"N","apiVersion":"1",
    "type":"t/T"}],"parameters":{"p":{"metadata":{"d":"x, y"},"type":"string"}},"contentVersion":"1","$schema":"s"}}} // as people write]])
  t.ok(one ~= hash [[{"properties":{"template":{"$schema":"s","contentVersion":"1","parameters":{"p":{"type":"string","metadata":{"d":"x, y"}}},
    "resources":[{"type":"T/t","apiVersion":"1","name":"n","properties":{"a":"\"}","b":[]}}]}}}]])
end)

test("parameters, variables that use each other, loops of properties", function(t)
  local more = { parameters = { n = 2 }, variables = { a = "[concat('x', variables('b'))]", b = "[string(parameters('N'))]" } }
  t.eq(value("[variables('a')]", more), "x2")
  t.eq(value({ copy = { { name = "disks", count = 2, input = { lun = "[copyIndex('disks', 5)]" } } } }), { disks = { { lun = 5 }, { lun = 6 } } })
  local ok, why = pcall(value, "[variables('a')]", { variables = { a = "[variables('a')]" } })
  t.eq(ok, false)
  t.has(tostring(why), "mentions itself")
end)

test("what is wrong is said in ARM's code", function(t)
  for _, text in ipairs { "[concat('a']", "[nothing()]", "[1 +]", "[parameters('none')]", "[createObject('a', 1).b]", "[div(1, 0)]", "[concat('a') 'b']",
    "[int('x')]", "[reference('x')]", "[copyIndex()]" } do
    local ok, why = pcall(value, text)
    t.eq(ok, false, text)
    t.eq(type(why) == "table" and why.code, "InvalidTemplate", text .. ": " .. tostring(why))
  end
end)

test("parameters are taken as they are declared", function(t)
  local function take(declared, sent) return template.parameters(declared, sent, scope()) end
  t.eq(take({ a = { type = "string", defaultValue = "[toUpper('d')]" }, b = { type = "int" } }, { b = { value = 3 } }), { a = "D", b = 3 })
  for _, case in ipairs {
    { { a = { type = "string" } }, {}, "is not provided" }, { { a = { type = "int" } }, { a = { value = "x" } }, "Expected a value of type" },
    { { a = { type = "string", allowedValues = { "x" } } }, { a = { value = "y" } }, "not part of the allowed" },
    { { a = { type = "string", minLength = 3 } }, { a = { value = "y" } }, "Length of the value" }, { {}, { z = { value = 1 } }, "not present in the original" },
    { { a = { type = "int", maxValue = 3 } }, { a = { value = 4 } }, "out of its range" },
  } do
    local ok, why = pcall(take, case[1], case[2])
    t.eq(ok, false)
    t.has(tostring(why), case[3])
  end
end)

test("JSON as people write it", function(t)
  local text = "{ // one\n mode: 'Incremental', /* two */ \"a\": [1, 2.5,], b: {c: true, d: null, e: -12,}, 'f': 'it\\'s \"x\"', g: \"//no\" }"
  local found = relaxed.decode(text)
  t.eq(found.mode, "Incremental")
  t.eq(found.a, { 1, 2.5 })
  t.eq(found.b.c, true)
  t.eq(found.b.d, json.null)
  t.eq(found.b.e, -12)
  t.eq(found.f, "it's \"x\"")
  t.eq(found.g, "//no")
  for _, broken in ipairs { "{", "{a: 'x}", "{a: /* }", "{a b}", "" } do t.eq(relaxed.decode(broken), nil, broken) end
end)

local NSG, VNET = "Microsoft.Network/networkSecurityGroups", "Microsoft.Network/virtualNetworks"
local function nsg(name, more)
  local entry = { type = NSG, apiVersion = "2022-07-01", name = name, location = "westeurope", properties = {} }
  for key, item in pairs(more or {}) do entry[key] = item end
  return entry
end

test("deployments: order, failure, what stays of them", function(t)
  local l = lab.open(t)
  local at = "~/Microsoft.Resources/deployments/"
  local function deploy(name, body)
    local answer = l:call("PUT", at .. name, { properties = body }, { api = "2021-04-01" })
    return answer.json, answer.status
  end
  local function status_of(path) return l:call("GET", path).status end
  local function ended(name)
    for _ = 1, 400 do
      local body = l:call("GET", at .. name, nil, { api = "2021-04-01" }).json
      if body.properties.provisioningState ~= "Accepted" and body.properties.provisioningState ~= "Running" then return body.properties end
      require("task").sleep(0.02)
    end
    error("it does not end")
  end
  local answer, status = deploy("one", { mode = "Incremental", template = { resources = {
    { type = VNET, apiVersion = "2022-07-01", name = "v", location = "westeurope", properties = { addressSpace = { addressPrefixes = { "10.0.0.0/16" } },
      subnets = { { name = "s", properties = { addressPrefix = "10.0.0.0/24", networkSecurityGroup = { id = "[reference('n', '2022-07-01', 'Full').id]" } } } } } },
    nsg "n", nsg("never", { condition = "[equals(1, 2)]" }) }, outputs = { ["in"] = { type = "string", value = "[reference('v').subnets[0].name]" } } } })
  t.eq(status, 201)
  t.eq(answer.properties.provisioningState, "Accepted")
  local p = ended "one"
  t.eq(p.provisioningState, "Succeeded")
  t.eq(p.outputs["in"].value, "s")
  t.eq(#p.outputResources, 2)
  t.eq(status_of("~/Microsoft.Network/networkSecurityGroups/never"), 404)
  t.eq(select(2, deploy("one", { mode = "Incremental", template = { resources = {} } })), 200)

  deploy("two", { mode = "Incremental", template = { resources = { nsg("bad", { location = "nowhere" }), nsg("after", { dependsOn = { "bad" } }),
    nsg "beside" } } })
  p = ended "two"
  t.eq(p.provisioningState, "Failed")
  t.eq(p.error.details[1].code, "LocationNotAvailableForResourceType")
  t.eq(#p.error.details, 1)
  t.eq(status_of("~/Microsoft.Network/networkSecurityGroups/after"), 404)
  t.eq(status_of("~/Microsoft.Network/networkSecurityGroups/beside"), 200)

  answer, status = deploy("circle", { mode = "Incremental", template = { resources = { nsg("a", { dependsOn = { "b" } }), nsg("b", { dependsOn = { "a" } }) } } })
  t.eq(status, 400)
  t.has(answer.error.message, "Circular dependency")
  t.eq(select(2, deploy("twice", { mode = "Incremental", template = { resources = { nsg "a", nsg "a" } } })), 400)
  t.eq(select(2, deploy("link", { mode = "Incremental", templateLink = { uri = "https://example.com/t.json" } })), 400)
  t.eq(status_of(at .. "circle"), 404)

  deploy("whole", { mode = "Complete", template = { resources = { nsg "only" } } })
  t.eq(ended("whole").provisioningState, "Succeeded")
  t.eq(status_of("~/Microsoft.Network/networkSecurityGroups/only"), 200)
  t.eq(status_of("~/Microsoft.Network/virtualNetworks/v"), 404)
end)

test("what-if: what would be made, changed, left or deleted, and nothing is", function(t)
  local l = lab.open(t)
  local N = "~/Microsoft.Network/"
  l:put(N .. "virtualNetworks/v", { location = "westus2", properties = { addressSpace = { addressPrefixes = { "10.0.0.0/16" } },
    subnets = { { name = "s", properties = { addressPrefix = "10.0.1.0/24" } } } } })
  l:put(N .. "routeTables/other", { location = "westus2", properties = {} })
  local function network(prefixes, subnets)
    return { type = "Microsoft.Network/virtualNetworks", apiVersion = "2023-09-01", name = "v", location = "West US 2",
      properties = { addressSpace = { addressPrefixes = prefixes }, subnets = subnets } }
  end
  local function ask(mode, ...)
    local answer = l:call("POST", "~/Microsoft.Resources/deployments/d/whatIf", { properties = { mode = mode, template = {
      ["$schema"] = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", contentVersion = "1.0.0.0",
      resources = { ... } } } })
    t.eq({ answer.status, answer.json.status }, { 200, "Succeeded" })
    local by = {}
    for _, change in ipairs(answer.json.properties.changes) do by[change.resourceId:match "[^/]+$"] = change end
    return by
  end
  local function kinds(by) return { v = by.v and by.v.changeType, n = by.n and by.n.changeType, other = by.other and by.other.changeType } end
  local same = network({ "10.0.0.0/16" }, { { name = "s", properties = { addressPrefix = "10.0.1.0/24" } } })
  local rt = { type = "Microsoft.Network/routeTables", apiVersion = "2023-09-01", name = "n", location = "westus2", properties = {} }
  t.eq(kinds(ask("Incremental", same, rt)), { v = "NoChange", n = "Create", other = "Ignore" })
  t.eq(kinds(ask("Complete", same)), { v = "NoChange", other = "Delete" })
  local changed = ask("Incremental", network({ "10.0.0.0/16", "10.1.0.0/16" }, { { name = "s", properties = { addressPrefix = "10.0.2.0/24" } },
    { name = "t", properties = { addressPrefix = "10.0.3.0/24" } } })).v
  t.eq({ changed.changeType, #changed.delta }, { "Modify", 2 })
  t.eq(changed.delta[1], { path = "properties.addressSpace.addressPrefixes", propertyChangeType = "Array",
    children = { { path = "1", propertyChangeType = "Create", after = "10.1.0.0/16" } } })
  t.eq(changed.delta[2].children[1], { path = "0.properties.addressPrefix", propertyChangeType = "Modify", before = "10.0.1.0/24",
    after = "10.0.2.0/24" })
  t.eq(changed.delta[2].children[2].propertyChangeType, "Create")
  local fewer = ask("Incremental", network({ "10.0.0.0/16" }, json.array {})).v
  t.eq(fewer.delta[1].children[1].propertyChangeType, "Delete")
  local unknown = ask("Incremental", { type = "Microsoft.Network/routeTables", apiVersion = "2023-09-01", name = "n", location = "westus2",
    tags = { a = "[reference('none', '2023-09-01').x]" }, properties = {} }).n
  t.eq(unknown.changeType, "Unsupported")
  t.eq(l:call("GET", N .. "routeTables/n").status, 404)
  t.eq(l:call("GET", "~/Microsoft.Resources/deployments/d").status, 404)
end)

test.done()
