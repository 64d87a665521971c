--- Server-side apply, its dry run, and kinds that come and go.
local support = require "support"
local crypto, json, objects, task = require "crypto", require "json", require "kubernetes.objects", require "task"
local ownership, proxy = require "kubernetes.ownership", require "proxy"
local case, config_map, connect, definition = support.case, support.config_map, support.connect, support.definition
local deployment, failure, get_map, space = support.deployment, support.failure, support.get_map, support.space
local version, widget = support.version, support.widget

-- Server-side apply.

case("an apply creates, and the same again changes nothing", function(t, lab)
  local api = connect(lab:parts())
  local ns = space(api)
  local made = api:apply(config_map(ns, "m", { a = "1", b = "2" }))
  t.eq(made.data, { a = "1", b = "2" })
  t.eq(version(api:apply(config_map(ns, "m", { a = "1", b = "2" }))), version(made))
  t.eq(version(get_map(api, ns, "m")), version(made))
  t.ok(ownership.is_applied(made, "vmrun") and not ownership.is_applied(made, "other"))
  t.eq(objects.compare(api, config_map(ns, "m", { a = "1", b = "2" })), {})
end)

case("a conflict names the fields and who holds them, and force takes them", function(t, lab)
  local api = connect(lab:parts())
  local ns = space(api)
  api:apply(config_map(ns, "m", { a = "1", b = "1", c = "1" }), { manager = "other" })
  local err = failure(t, "apply ConfigMap m: others hold fields of it", api.apply, api, config_map(ns, "m", { a = "2", b = "2",
    c = "1" }))
  t.eq(err.code, "conflict")
  for _, part in ipairs { '.data.a (conflict with "other")', '.data.b (conflict with "other")' } do t.has(err.message, part) end
  t.ok(not err.message:find(".data.c", 1, true), "what is the same is no conflict: " .. err.message)
  t.has(err.hint, "force = true")
  t.eq(get_map(api, ns, "m").data, { a = "1", b = "1", c = "1" }, "nothing is written")
  t.eq(api:apply(config_map(ns, "m", { a = "2", b = "2" }), { force = true }).data, { a = "2", b = "2", c = "1" })
  err = failure(t, "others hold", api.apply, api, config_map(ns, "m", { a = "1", b = "1", c = "1" }), { manager = "other" })
  t.has(err.message, '"vmrun"')
end)

case("a conflict with an update names its manager", function(t, lab)
  local api = connect(lab:parts())
  local ns = space(api)
  api:apply(config_map(ns, "m", { a = "1" }))
  api:request("PATCH", api:path("v1", "ConfigMap", ns, "m") .. "?fieldManager=somebody", { data = { a = "9" } },
    { content_type = "application/merge-patch+json" })
  local err = failure(t, "others hold", api.apply, api, config_map(ns, "m", { a = "1" }))
  t.has(err.message, '.data.a (conflict with "somebody" using v1')
end)

case("a field that is no longer applied goes, unless another has it", function(t, lab)
  local api = connect(lab:parts())
  local ns = space(api)
  api:apply(config_map(ns, "m", { a = "1", b = "1", c = "1" }))
  api:apply(config_map(ns, "m", { b = "1" }), { manager = "other" })
  t.eq(api:apply(config_map(ns, "m", { a = "1" })).data, { a = "1", b = "1" })
  api:apply(deployment(ns, "d", function(o)
    table.insert(o.spec.template.spec.containers, { name = "side", image = "example.test/side:1" })
  end))
  local left = api:apply(deployment(ns, "d"))
  t.eq(#left.spec.template.spec.containers, 1)
end)

case("lists with keys are merged by them", function(t, lab)
  local api = connect(lab:parts())
  local ns = space(api)
  local function service(ports)
    return { apiVersion = "v1", kind = "Service", metadata = { name = "s", namespace = ns }, spec = { selector = { app = "x" },
      ports = json.array(ports) } }
  end
  api:apply(service { { name = "http", port = 80, protocol = "TCP" } })
  local both = api:apply({ apiVersion = "v1", kind = "Service", metadata = { name = "s", namespace = ns },
    spec = { ports = json.array { { name = "tls", port = 443, protocol = "TCP" } } } }, { manager = "other" })
  t.eq(#both.spec.ports, 2)
  local one = api:apply(service { { name = "web", port = 8080, protocol = "TCP" } })
  local names = {}
  for i, port in ipairs(one.spec.ports) do names[i] = port.name end
  table.sort(names)
  t.eq(names, { "tls", "web" })
end)

case("a dry run is what the apply then does", function(t, lab)
  local api = connect(lab:parts())
  local ns = space(api)
  local crd, widgets = definition()
  objects.apply(api, { crd })
  local function pairs_of(first)
    return {
      { config_map(ns, "m", { a = "1", b = "1" }), config_map(ns, "m", { a = "2", c = "1" }, { x = "y" }) },
      { { apiVersion = "v1", kind = "Secret", metadata = { name = "s", namespace = ns }, stringData = { p = "one" } },
        { apiVersion = "v1", kind = "Secret", metadata = { name = "s", namespace = ns }, stringData = { p = "two", q = "3" } } },
      { deployment(ns, "d"), deployment(ns, "d", function(o)
        o.spec.replicas, o.spec.template.spec.containers[1].image = 3, "example.test/main:2"
        o.spec.template.spec.containers[1].env = json.array { { name = "A", value = "b" } }
      end) },
      { { apiVersion = "v1", kind = "Service", metadata = { name = "s", namespace = ns }, spec = { selector = { app = "d" },
        ports = json.array { { port = 80, protocol = "TCP" } } } }, { apiVersion = "v1", kind = "Service",
          metadata = { name = "s", namespace = ns },
        spec = { type = "NodePort", selector = { app = "e" }, ports = json.array { { port = 80, protocol = "TCP",
          nodePort = first }, { name = "b", port = 81, protocol = "TCP", nodePort = first + 1 } } } } },
      { { apiVersion = "rbac.authorization.k8s.io/v1", kind = "ClusterRole", metadata = { name = ns }, rules = json.array {
        { apiGroups = json.array { "" }, resources = json.array { "pods" }, verbs = json.array { "get" } } } },
        { apiVersion = "rbac.authorization.k8s.io/v1", kind = "ClusterRole", metadata = { name = ns, annotations = { a = "b" } },
          rules = json.array {
        { apiGroups = json.array { "" }, resources = json.array { "pods", "nodes" }, verbs = json.array { "get", "list" } } } } },
      { widget(widgets, ns, "w", { size = 1 }), widget(widgets, ns, "w", { size = 2, color = "red" }) },
    }
  end
  -- what changes by itself from one write to the next
  local function bare(o)
    local copy = json.decode(json.encode(o))
    local m = copy.metadata
    m.resourceVersion, m.managedFields, copy.status = nil, nil, nil
    return copy
  end
  for i, pair in ipairs(pairs_of(lab.name == "real" and 30100 or 30200)) do
    local before, after = pair[1], pair[2]
    local what = after.kind .. " " .. i
    if after.spec and after.spec.ports then after.spec.ports[1].name = "a"; before.spec.ports[1].name = "a" end
    local there = api:apply(before)
    local changes = objects.compare(api, after)
    t.ok(#changes > 0, what .. " is seen to differ")
    local planned = api:apply(after, { dry_run = true })
    local live = api:get(after.apiVersion, after.kind, after.metadata.namespace, after.metadata.name)
    if after.kind ~= "Deployment" then t.eq(version(live), version(there), what .. " is not written by a dry run") end
    local applied = api:apply(after)
    t.eq(bare(planned), bare(applied), what)
    t.eq(objects.compare(api, after), {}, what .. " is as declared")
  end
end)

case("what is as declared is seen without asking the server to apply it", function(t, lab)
  local ways <close> = proxy.faults(lab)
  local api = connect(ways:parts())
  local ns = space(api)
  local list = { config_map(ns, "m", { a = "1" }, { l = "x" }), deployment(ns, "d", function(o)
    o.metadata.creationTimestamp = json.null
    o.spec.template.spec.containers[1].env = json.array { { name = "A", value = "b" } }
    o.spec.template.spec.containers[1].ports = json.array { { containerPort = 80, protocol = "TCP" } }
    o.spec.template.spec.containers[1].args = json.array { "-v", "-v" }
  end) }
  for _, o in ipairs(list) do api:apply(o) end
  local before = ways:count "PATCH"
  for _, o in ipairs(list) do t.eq(objects.compare(api, o), {}) end
  t.eq(ways:count "PATCH", before)
  -- each of these is a difference, or the server is asked whether it is
  local container = list[2].spec.template.spec.containers[1]
  container.args = json.array { "-v" }
  t.eq(#objects.compare(api, list[2]), 1)
  container.args, container.env = json.array { "-v", "-v" }, nil
  t.eq(#objects.compare(api, list[2]), 1, "what is dropped")
  container.env = json.array { { name = "A", value = "b" }, { name = "B", value = "c" } }
  t.eq(#objects.compare(api, list[2]), 1, "what is added")
  container.env = json.array { { name = "A", value = "b" } }
  t.eq(objects.compare(api, list[2]), {})
  list[2].spec.template.spec.containers[2] = { name = "side", image = "x" }
  t.eq(#objects.compare(api, list[2]), 1)
  list[1].metadata.labels = nil
  t.eq(#objects.compare(api, list[1]), 1, "a label that is dropped")
  list[1].metadata.labels, list[1].data.a = { l = "x" }, nil
  list[1].data.b = "1"
  t.eq(#objects.compare(api, list[1]), 2)
end)

case("changes of a Secret are told without their values", function(t, lab)
  local api = connect(lab:parts())
  local ns = space(api)
  local function secret(p)
    return { apiVersion = "v1", kind = "Secret", metadata = { name = "s", namespace = ns }, stringData = { p = p } }
  end
  api:apply(secret "first-value")
  local changes = objects.compare(api, secret "second-value")
  t.eq(#changes, 1)
  t.eq({ changes[1].old, changes[1].new }, { "(secret)", "(secret)" })
  local said = json.encode(changes)
  for _, text in ipairs { "first-value", "second-value", crypto.base64 "second-value" } do
    t.ok(not said:find(text, 1, true), "no value in " .. said)
  end
end)

-- Kinds.

case("a definition and at once objects of its kind", function(t, lab)
  local api = connect(lab:parts())
  local ns = space(api)
  local crd, v1 = definition()
  t.eq(api:kind(v1, "Widget"), nil)
  t.eq(api:get(v1, "Widget", ns, "w"), nil)
  objects.apply(api, { widget(v1, ns, "w", { size = 3 }), crd })
  t.eq(api:get(v1, "Widget", ns, "w").spec, { size = 3 })
  t.eq(#api:list(v1, "Widget"), 1)
end)

case("a new group is noticed by who has looked before", function(t, lab)
  local api, other = connect(lab:parts()), connect(lab:parts())
  local ns = space(api)
  local crd, v1 = definition()
  t.eq({ other:kind(v1, "Widget"), (failure(t, "the server has no kind Widget", other.apply, other, widget(v1, ns, "w",
    { size = 1 }))).code }, { nil, "nokind" })
  objects.apply(api, { crd })
  t.eq(other:kind(v1, "Widget").plural, "widgets")
  t.eq(version(other:apply(widget(v1, ns, "w", { size = 1 }))), version(other:apply(widget(v1, ns, "w", { size = 1 }))))
  api:delete(crd, { wait = 30 })
  t.eq(other:get(v1, "Widget", ns, "w"), nil, "a kind that has gone has no objects")
end)

case("a kind that comes is waited for", function(t, lab)
  local api = connect(lab:parts())
  local ns = space(api)
  local crd, v1 = definition()
  local waiting = task.spawn(function()
    return connect(lab:parts()):wait(widget(v1, ns, "w"), function(now) return now ~= nil end, 30)
  end)
  task.sleep(0.3)
  objects.apply(api, { crd, widget(v1, ns, "w", { size = 1 }) })
  local ok, answer = waiting:join()
  t.eq({ ok, answer }, { true, true })
  local err = failure(t, "Widget w: waited 0.4 s for it to be ready; it is not there", connect(lab:parts()).wait,
    connect(lab:parts()),
    { apiVersion = "nowhere.lab.test/v1", kind = "Widget", metadata = { name = "w", namespace = ns } },
      function(now) return now end, 0.4)
  t.eq(err.code, "timeout")
end)
