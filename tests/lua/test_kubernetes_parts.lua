-- The parts of the emulated API server that need neither a network nor a machine.
local test = require "tap"
local json = require "json"
local apply = require "emulator.kubernetes.apply"
local fieldset = require "emulator.kubernetes.fieldset"
local jsonpath = require "emulator.kubernetes.jsonpath"
local patch = require "emulator.kubernetes.patch"
local regex = require "regex"
local Resources = require "emulator.kubernetes.resources"
local schema = require "emulator.kubernetes.schema"
local selector = require "emulator.kubernetes.selector"
local Store = require "emulator.kubernetes.store"
local value = require "emulator.kubernetes.value"

local resources = Resources.new()
local Deployment = resources:find("apps", "v1", "deployments").schema
local ConfigMap = resources:find("", "v1", "configmaps").schema

local function who(manager, force) return { manager = manager, apiVersion = "v1", force = force } end

local function map(data)
  return { apiVersion = "v1", kind = "ConfigMap", metadata = { name = "m", namespace = "n" }, data = data }
end

local function nginx(change)
  local o = json.decode [[{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"nginx","labels":{"app":"nginx"}},
    "spec":{"replicas":1,"selector":{"matchLabels":{"app":"nginx"}},"template":{"metadata":{"labels":{"app":"nginx"}},
    "spec":{"containers":[{"name":"nginx","image":"nginx:1","ports":[{"containerPort":80}]}]}}}}]]
  if change then change(o) end
  return o
end

test("an applied object is owned field by field", function(t)
  local o = apply.apply(Deployment, nil, nginx(), { manager = "a", apiVersion = "apps/v1" })
  local entry = o.metadata.managedFields[1]
  t.eq(entry.operation, "Apply")
  t.eq(fieldset.paths(fieldset.decode(entry.fieldsV1)), {
    ".metadata.labels.app", ".spec.replicas", ".spec.selector", ".spec.template.metadata.labels.app",
    '.spec.template.spec.containers[name="nginx"]', '.spec.template.spec.containers[name="nginx"].image',
    '.spec.template.spec.containers[name="nginx"].name',
    '.spec.template.spec.containers[name="nginx"].ports[containerPort=80,protocol="TCP"]',
    '.spec.template.spec.containers[name="nginx"].ports[containerPort=80,protocol="TCP"].containerPort',
  })
end)

test("another manager's value is a conflict, unless forced", function(t)
  local o = apply.apply(ConfigMap, nil, map { a = "1", b = "1" }, who "one")
  local e = t.fails('conflict with "one": .data.a', apply.apply, ConfigMap, o, map { a = "2" }, who "two")
  t.eq(e.code, 409)
  t.eq(e.body.details.causes[1], { reason = "FieldManagerConflict", message = 'conflict with "one"', field = ".data.a" })
  local both = apply.apply(ConfigMap, o, map { b = "1" }, who "two")
  t.eq(#both.metadata.managedFields, 2, "the same value is owned together")
  local forced = apply.apply(ConfigMap, o, map { a = "2" }, who("two", true))
  t.eq(forced.data, { a = "2", b = "1" })
  t.fails('conflict with "two": .data.a', apply.apply, ConfigMap, forced, map { a = "3", b = "1" }, who "one")
end)

test("what is no longer applied goes, unless somebody else has it", function(t)
  local o = apply.apply(ConfigMap, nil, map { a = "1", b = "1", c = "1" }, who "one")
  o = apply.apply(ConfigMap, o, map { b = "1" }, who "two")
  o = apply.apply(ConfigMap, o, map { c = "1" }, who "one")
  t.eq(o.data, { b = "1", c = "1" })
  o = apply.apply(ConfigMap, o, map(nil), who "two")
  t.eq(o.data, { c = "1" })
end)

test("an update takes fields over without asking", function(t)
  local o = apply.apply(ConfigMap, nil, map { a = "1", b = "1" }, who "one")
  local new = value.copy(o)
  new.data.a = "2"
  apply.update(ConfigMap, o, new, who "kubectl-edit")
  t.fails('conflict with "kubectl-edit" using v1: .data.a', apply.apply, ConfigMap, new, map { a = "1", b = "1" }, who "one")
end)

test("parts that Go's types write even when empty have no owner", function(t)
  local function owned(zero)
    local o = json.decode '{"metadata":{"name":"m"},"spec":{"replicas":1},"status":{}}'
    apply.update(Deployment, nil, o, { manager = "m", apiVersion = "v1", zero = zero })
    return o.metadata.managedFields[1].fieldsV1
  end
  t.eq(owned { metadata = {}, spec = {}, status = {} }, { ["f:spec"] = { ["f:replicas"] = {} } })
  t.eq(owned(nil), { ["f:spec"] = { ["."] = {}, ["f:replicas"] = {} }, ["f:status"] = {} }, "of a custom resource they have")
end)

test("list items with keys are owned and merged by them", function(t)
  local o = apply.apply(Deployment, nil, nginx(), { manager = "a", apiVersion = "apps/v1" })
  o = apply.apply(Deployment, o, nginx(function(n)
    n.spec.replicas, n.metadata.labels = nil, nil
    n.spec.template.spec.containers = json.decode '[{"name":"side","image":"s"}]'
  end), { manager = "b", apiVersion = "apps/v1" })
  local list = o.spec.template.spec.containers
  t.eq({ list[1].name, list[2].name }, { "nginx", "side" })
  o = apply.apply(Deployment, o, nginx(function(n) n.spec.template.spec.containers = json.decode '[]' end),
    { manager = "a", apiVersion = "apps/v1" })
  t.eq(#o.spec.template.spec.containers, 1)
end)

test("strategic merge patch follows list keys and directives", function(t)
  local o = nginx()
  local new = patch.strategic(Deployment, o, json.decode [[{"spec":{"template":{"spec":{
    "$setElementOrder/containers":[{"name":"side"},{"name":"nginx"}],
    "containers":[{"name":"side","image":"s"},{"name":"nginx","image":"nginx:2","ports":[{"$patch":"delete","containerPort":80}]}]}}}}]])
  local list = new.spec.template.spec.containers
  t.eq({ list[1].name, list[2].name, list[2].image, #list[2].ports }, { "side", "nginx", "nginx:2", 0 })
  t.eq(o.spec.template.spec.containers[1].image, "nginx:1", "the old one is left alone")
  new = patch.strategic(Deployment, o, json.decode '{"metadata":{"labels":{"app":null,"x":"y"}}}')
  t.eq(new.metadata.labels, { x = "y" })
end)

test("JSON patch and merge patch", function(t)
  local o = { a = { b = "1" }, l = json.array { 1, 2 } }
  t.eq(patch.merge(o, json.decode '{"a":{"b":null,"c":2}}').a, { c = 2 })
  local new = patch.json(o, json.decode '[{"op":"add","path":"/l/-","value":3},{"op":"replace","path":"/a/b","value":"2"},{"op":"remove","path":"/l/0"}]')
  t.eq({ new.a.b, #new.l, new.l[1] }, { "2", 2, 2 })
  t.fails("missing", patch.json, o, json.decode '[{"op":"remove","path":"/x"}]')
  t.fails("test failed", patch.json, o, json.decode '[{"op":"test","path":"/a/b","value":"9"}]')
end)

test("unknown fields and wrong types are found", function(t)
  local unknown = schema.inspect(Deployment, json.decode '{"spec":{"foo":1,"template":{"spec":{"containers":[{"imag":"x"}]}}}}')
  t.eq(unknown, { "spec.foo", "spec.template.spec.containers[0].imag" })
  local _, path, wanted, got = schema.inspect(Deployment, json.decode '{"spec":{"replicas":"two"}}')
  t.eq({ path, wanted, got }, { "spec.replicas", "int64", "string" })
end)

test("label selectors", function(t)
  local labels = { app = "web", tier = "front" }
  for text, wanted in pairs { ["app=web"] = true, ["app==web,tier!=back"] = true, ["app in (api, web)"] = true, ["app notin (web)"] = false,
    ["!gone"] = true, ["tier"] = true, ["app=api"] = false, [""] = true } do
    t.eq(selector.labels(text)(labels), wanted, text)
  end
  t.fails("unable to parse requirement", selector.labels, "a=b=,=")
  t.fails("field label not supported", selector.fields, "spec.nope=1", resources:find("", "v1", "pods"))
end)

test("regular expressions of definitions", function(t)
  t.eq(regex.match("^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$", "1m30s"), true)
  t.eq(regex.match("^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$", "1x"), false)
  t.eq(regex.match("^[a-z]{2,3}$", "abcd"), false)
  t.eq(regex.match("(?=x)", "x"), nil, "what is not understood is not judged")
end)

test("paths of printer columns", function(t)
  local o = json.decode '{"status":{"conditions":[{"type":"Ready","status":"True"}]},"m":{"a.b":"c"},"l":[{"n":1},{"n":2}]}'
  t.eq(jsonpath.first('.status.conditions[?(@.type=="Ready")].status', o), "True")
  t.eq(jsonpath.first(".m.a\\.b", o), "c")
  t.eq(jsonpath.all(".l[*].n", o), { 1, 2 })
end)

test("ages as kubectl prints them", function(t)
  for seconds, text in pairs { [5] = "5s", [119] = "119s", [207] = "3m27s", [3600] = "60m", [14400] = "4h", [200000] = "2d7h", [864000] = "10d" } do
    t.eq(value.age(seconds), text)
  end
  t.eq(value.seconds "2026-11-23T22:52:00Z", 1795474320)
  t.eq(value.duration "1h0m30s", 3630)
  t.eq(value.quantity "500m", 0.5)
end)

test("a store tells its writes and remembers the last ones", function(t)
  local rows = {}
  local durable = { put = function(_, k, v) rows[k] = v end, delete = function(_, k) rows[k] = nil end, each = function() return next, rows end }
  local store = Store.open(durable)
  local seen = {}
  local stop = store:subscribe(function(e) seen[#seen + 1] = e.type end)
  store:put("/configmaps", { metadata = { name = "a", namespace = "n" } })
  local revision = store.revision
  store:put("/configmaps", { metadata = { name = "a", namespace = "n" } })
  store:remove("/configmaps", "n", "a")
  stop()
  t.eq(seen, { "ADDED", "MODIFIED", "DELETED" })
  t.eq(#store:since(revision), 2)
  store:put("/configmaps", { metadata = { name = "b", namespace = "n" } })
  local again = Store.open(durable)
  t.eq(#again:list "/configmaps", 1)
  t.ok(again.revision >= store.revision)
end)

test.done()
