--- What a server refuses, and trouble on the way to it.
local support = require "support"
local crypto, json, objects, proxy = require "crypto", require "json", require "kubernetes.objects", require "proxy"
local task = require "task"
local case, config_map, connect, definition = support.case, support.config_map, support.connect, support.definition
local deployment, failure, get_map, space = support.deployment, support.failure, support.get_map, support.space
local widget = support.widget

-- Refusals.

case("401: credentials that the server does not know", function(t, lab)
  local api = connect(lab:parts { token = "no-such-token" })
  local began = task.now()
  local err = failure(t, "GET /api/v1/namespaces/default/configmaps: Unauthorized", api.request, api, "GET",
    "/api/v1/namespaces/default/configmaps")
  t.eq(err.code, "Unauthorized")
  t.has(err.hint, "credentials")
  t.ok(task.now() - began < 5, "at once")
  t.ok(not err.message:find("no-such-token", 1, true))
end)

case("401: a client certificate that has expired", function(t, lab)
  local api = connect(lab:parts(lab:expired("admin", { "system:masters" })))
  local err = failure(t, "Unauthorized", api.request, api, "GET", "/api/v1/namespaces")
  t.has(err.message, "the client certificate expired at 20")
  t.eq(err.code, "Unauthorized")
end)

case("401: a client certificate of another authority", function(t, lab)
  local other = crypto.x509_ca { cn = "other", days = 1 }
  local api = connect(lab:parts(crypto.x509_issue { ca = other, cn = "admin", o = { "system:masters" }, days = 1,
    usage = { "client" } }))
  t.eq(failure(t, "Unauthorized", api.request, api, "GET", "/api/v1/namespaces").code, "Unauthorized")
end)

case("403: what a user may not, and may", function(t, lab)
  local admin, api = connect(lab:parts()), connect(lab:parts(lab:certificate("reader", { "readers" })))
  local ns = space(admin)
  local err = failure(t,
    'configmaps is forbidden: User "reader" cannot list resource "configmaps" in API group "" in the namespace "' .. ns .. '"',
    api.list, api, "v1", "ConfigMap", { namespace = ns })
  t.eq(err.code, "Forbidden")
  t.has(err.hint, "Role")
  objects.apply(admin, { { apiVersion = "rbac.authorization.k8s.io/v1", kind = "Role", metadata = { name = "r", namespace = ns },
    rules = json.array {
    { apiGroups = json.array { "" }, resources = json.array { "configmaps" }, verbs = json.array { "list" } } } },
    { apiVersion = "rbac.authorization.k8s.io/v1", kind = "RoleBinding", metadata = { name = "r", namespace = ns },
      roleRef = { apiGroup = "rbac.authorization.k8s.io", kind = "Role", name = "r" },
      subjects = json.array { { apiGroup = "rbac.authorization.k8s.io", kind = "Group", name = "readers" } } } })
  local allowed
  for _ = 1, 50 do -- the server's own view of roles is a little behind
    allowed = pcall(api.list, api, "v1", "ConfigMap", { namespace = ns })
    if allowed then break end
    task.sleep(0.1)
  end
  t.ok(allowed, "the role lets them in")
  t.eq(failure(t, 'cannot patch resource "configmaps"', api.apply, api, config_map(ns, "m", {})).code, "Forbidden")
end)

case("404: what is not there", function(t, lab)
  local api = connect(lab:parts())
  t.eq(get_map(api, "no-such-space", "m"), nil)
  local err = failure(t, 'apply ConfigMap m: namespaces "no-such-space" not found', api.apply, api, config_map("no-such-space",
    "m", {}))
  t.eq(err.code, "NotFound")
  t.has(err.hint, "namespace")
  t.eq({ api:apply(config_map("no-such-space", "m", {}), { dry_run = true }) }, { nil, "absent" })
  t.eq(failure(t, "no kind Nothing in v1", api.list, api, "v1", "Nothing").code, "nokind")
end)

case("409: a version that is no longer", function(t, lab)
  local api = connect(lab:parts())
  local ns = space(api)
  local old = api:apply(config_map(ns, "m", { a = "1" }))
  api:apply(config_map(ns, "m", { a = "2" }))
  old.data.a = "3"
  old.metadata.managedFields = nil
  local err = failure(t, "the object has been modified", api.request, api, "PUT", api:path_of(old), old)
  t.eq(err.code, "Conflict")
  err = failure(t, 'configmaps "m" already exists', api.create, api, config_map(ns, "m", {}))
  t.eq(err.code, "AlreadyExists")
  old.metadata.uid = "00000000-0000-0000-0000-000000000000"
  t.eq(api:delete(old, { uid = old.metadata.uid }), false, "another object of the name is left")
  t.eq(get_map(api, ns, "m").data.a, "2")
end)

case("422: what is not valid is told field by field", function(t, lab)
  local api = connect(lab:parts())
  local ns = space(api)
  local err = failure(t, "apply Deployment d: Deployment.apps \"d\" is invalid", api.apply, api, deployment(ns, "d", function(o)
    o.spec.selector.matchLabels = { app = "other" }
    o.spec.replicas = -1
  end))
  t.eq(err.code, "Invalid")
  t.has(err.message, "spec.replicas: Invalid value: -1")
  t.has(err.message, "spec.template.metadata.labels: Invalid value")
  local crd, v1 = definition()
  objects.apply(api, { crd })
  err = failure(t, "spec.size: Invalid value: 0", api.apply, api, widget(v1, ns, "w", { size = 0 }))
  t.has(err.message, "should be greater than or equal to 1")
end)

case("a field that the server does not know is one error, at once", function(t, lab)
  local api = connect(lab:parts(), 60)
  local ns = space(api)
  local began = task.now()
  local o = config_map(ns, "m", { a = "1" })
  o.dta = { a = "1" }
  local err = failure(t, "apply ConfigMap m: failed to create typed patch object", api.apply, api, o)
  t.has(err.message, ".dta: field not declared in schema")
  t.has(err.hint, "does not know this field")
  t.ok(task.now() - began < 5, "it is not tried again")
end)

-- Trouble on the way.

local function status_answer(code, reason, message, headers)
  headers = headers or {}
  headers["Content-Type"] = "application/json"
  return { status = code, headers = headers, body = json.encode { kind = "Status", apiVersion = "v1", status = "Failure",
    code = code,
    reason = reason, message = message } }
end

case("429: the server says when to come again", function(t, lab)
  local ways <close> = proxy.faults(lab)
  local api = connect(ways:parts(), 30)
  local ns = space(api)
  local refused = 0
  function ways.answer(req)
    if req.method == "PATCH" and refused < 2 then
      refused = refused + 1
      return status_answer(429, "TooManyRequests", "too many requests, please try again later", { ["Retry-After"] = "1" })
    end
  end
  local began = task.now()
  t.eq(api:apply(config_map(ns, "m", { a = "1" })).data.a, "1")
  t.eq(refused, 2)
  t.ok(task.now() - began >= 2, "it waited as it was told")
  api.patience = 2
  function ways.answer(req)
    if req.method == "PATCH" then return status_answer(429, "TooManyRequests", "too many requests",
      { ["Retry-After"] = "3600" }) end
  end
  began = task.now()
  local err = failure(t, "apply ConfigMap m: too many requests", api.apply, api, config_map(ns, "m", { a = "2" }))
  t.eq(err.code, "TooManyRequests")
  t.ok(task.now() - began < 3, "an hour is more than its patience")
end)

case("429: a budget that forbids an eviction", function(t, lab)
  local api = connect(lab:parts(), 3)
  local ns = space(api)
  local o = deployment(ns, "d")
  local policy = lab.name == "real" and "policy/v1beta1" or "policy/v1"
  objects.apply(api, { o, { apiVersion = policy, kind = "PodDisruptionBudget", metadata = { name = "b", namespace = ns },
    spec = { minAvailable = 2, selector = { matchLabels = { app = "d" } } } } })
  objects.wait(api, { o }, 60)
  api:wait({ apiVersion = policy, kind = "PodDisruptionBudget", metadata = { name = "b", namespace = ns } }, function(now)
    return now and now.status and now.status.currentHealthy == 2
  end, 30)
  local pod = api:list("v1", "Pod", { namespace = ns })[1]
  local eviction = { apiVersion = policy, kind = "Eviction", metadata = { name = pod.metadata.name, namespace = ns } }
  local err = failure(t, "Cannot evict pod as it would violate the pod's disruption budget.", api.request, api, "POST",
    api:path_of(pod) .. "/eviction", eviction)
  t.eq(err.code, "TooManyRequests")
end)

case("403: an eviction where the namespace goes, and the pod with it", function(t, lab)
  local api = connect(lab:parts())
  local ns = space(api)
  local o = deployment(ns, "d")
  objects.apply(api, { o })
  objects.wait(api, { o }, 60)
  local pod = api:list("v1", "Pod", { namespace = ns })[1]
  pod = api:merge(pod, { metadata = { finalizers = json.array { "lab.test/stay" } } })
  api:delete { apiVersion = "v1", kind = "Namespace", metadata = { name = ns } }
  t.eq(api:evict(pod), nil)
  api:merge(pod, { metadata = { finalizers = json.null } })
end)

case("5xx: what is temporary is tried again", function(t, lab)
  local ways <close> = proxy.faults(lab)
  local api = connect(ways:parts(), 30)
  local ns = space(api)
  local troubles = { status_answer(503, "ServiceUnavailable", "the server is currently unable to handle the request"),
    status_answer(500, nil, "etcdserver: request timed out"), status_answer(504, "Timeout",
      "request did not complete within requested timeout"),
    { status = 502, headers = {}, body = "<html>bad gateway</html>" } }
  local at = 0
  function ways.answer(req)
    if req.method ~= "PATCH" then return nil end
    at = at + 1
    return troubles[at]
  end
  t.eq(api:apply(config_map(ns, "m", { a = "1" })).data.a, "1")
  t.eq(at, 5)
  function ways.answer(req) if req.method == "PATCH" then return troubles[4] end end
  api.patience = 1
  local err = failure(t, "apply ConfigMap m: HTTP 502", api.apply, api, config_map(ns, "m", { a = "2" }))
  t.eq(err.code, "HTTP502")
end)

case("connections that break are made again", function(t, lab)
  local wire <close> = proxy.wire(lab)
  local api = connect(wire:parts(), 30)
  local ns = space(api)
  local cut = 0
  local breaker = task.spawn(function()
    while true do
      task.sleep(0.15)
      cut = cut + wire:cut()
    end
  end)
  local list = {}
  for i = 1, 60 do list[i] = config_map(ns, "m" .. i, { a = "1" }, { of = "list" }) end
  local ok, err
  repeat -- until one was broken off in the middle
    ok, err = pcall(objects.apply, api, list, { manager = "m" .. cut })
  until not ok or cut > 0
  breaker:cancel "enough"
  breaker:join()
  t.ok(ok, tostring(err))
  t.eq(#connect(lab:parts()):list("v1", "ConfigMap", { namespace = ns, labels = "of=list" }), 60)
end)

case("a server that is restarted in the middle is waited for", function(t, lab)
  local api = connect(lab:parts(), 90)
  local ns = space(api)
  local list = {}
  for i = 1, 120 do list[i] = config_map(ns, "m" .. i, { a = "1" }, { of = "list" }) end
  local job = task.spawn(function() objects.apply(api, list) end)
  local other, ends = connect(lab:parts()), task.now() + 20
  while #other:list("v1", "ConfigMap", { namespace = ns, labels = "of=list" }) < 5 and task.now() < ends do task.sleep(0.005) end
  lab:stop_api "KILL"
  task.sleep(0.2)
  lab:start_api()
  local ok, err = job:join()
  t.ok(ok, tostring(err))
  t.eq(#connect(lab:parts()):list("v1", "ConfigMap", { namespace = ns, labels = "of=list" }), 120)
end)

case("a server that is not there is one error", function(t, lab)
  local parts = lab:parts()
  parts.server = parts.server:gsub(":6443$", ":6449")
  local api = connect(parts, 0.5)
  local err = failure(t, "GET /version: 127.", api.request, api, "GET", "/version")
  t.eq(err.code, "unreachable")
  t.has(err.message, "cannot connect: connection refused")
end)
