--- Waiting for rollouts, conditions and for what goes.
local support = require "support"
local client, json, objects, task = require "kubernetes.client", require "json", require "kubernetes.objects", require "task"
local case, config_map, connect, definition = support.case, support.config_map, support.connect, support.definition
local deployment, failure, get_map, space = support.deployment, support.failure, support.get_map, support.space
local widget = support.widget

-- Waiting.

case("a rollout is waited for", function(t, lab)
  local api = connect(lab:parts())
  local ns = space(api)
  objects.apply(api, { deployment(ns, "d") })
  objects.wait(api, { deployment(ns, "d") }, 60)
  local now = api:get("apps/v1", "Deployment", ns, "d")
  t.eq({ now.status.availableReplicas, now.status.updatedReplicas }, { 2, 2 })
  local second = deployment(ns, "d", function(o) o.spec.template.spec.containers[1].image = "example.test/main:2" end)
  objects.apply(api, { second })
  objects.wait(api, { second }, 60)
  now = api:get("apps/v1", "Deployment", ns, "d")
  t.eq({ now.status.observedGeneration, now.status.replicas, now.status.updatedReplicas }, { 2, 2, 2 })
  for _, pod in ipairs(api:list("v1", "Pod", { namespace = ns })) do
    if not pod.metadata.deletionTimestamp then t.eq(pod.spec.containers[1].image, "example.test/main:2") end
  end
end)

local function nowhere(o) o.spec.template.spec.nodeSelector = { ["lab.test/none"] = "here" } end

case("a rollout that does not come says what the object says", function(t, lab)
  local api = connect(lab:parts())
  local ns = space(api)
  local o = deployment(ns, "d", nowhere)
  objects.apply(api, { o })
  local err = failure(t, "Deployment d: waited 3 s for it to be rolled out", objects.wait, api, { o }, 3)
  t.has(err.message, "Available=False (Deployment does not have minimum availability.)")
end)

case("a rollout that has given up is not waited for", function(t, lab)
  local api = connect(lab:parts())
  local ns = space(api)
  local o = deployment(ns, "d", function(d)
    nowhere(d)
    d.spec.progressDeadlineSeconds = 1
    d.spec.minReadySeconds = 0
  end)
  objects.apply(api, { o })
  local began = task.now()
  local err = failure(t, "Deployment d has failed", objects.wait, api, { o }, 60)
  t.has(err.message, "ProgressDeadlineExceeded")
  t.ok(task.now() - began < 45, "it is told soon")
end)

case("a condition is waited for by watching", function(t, lab)
  local api = connect(lab:parts())
  local ns = space(api)
  local crd, v1 = definition()
  local o = widget(v1, ns, "w", { size = 1 })
  objects.apply(api, { crd, o })
  local setter = task.spawn(function()
    task.sleep(0.3)
    api:merge(o, { status = { conditions = json.array { { type = "Ready", status = "False", message = "not yet" } } } },
      { subresource = "status" })
    task.sleep(0.2)
    api:merge(o, { status = { conditions = json.array { { type = "Ready", status = "True" } } } }, { subresource = "status" })
  end)
  local seen = {}
  local began = task.now()
  api:wait(o, function(now)
    seen[#seen + 1] = client.condition(now, "Ready") or "none"
    return client.condition(now, "Ready") == "True"
  end, 30)
  t.eq(seen, { "none", "False", "True" })
  t.ok(task.now() - began < 10, "it did not wait for a poll")
  t.ok(setter:join())
  local err = failure(t, "waited 0.5 s for it to be green; it says Ready=True", api.wait, api, o, function() return false end,
    0.5, "to be green")
  t.eq(err.code, "timeout")
end)

case("an object that goes is waited for", function(t, lab)
  local api = connect(lab:parts())
  local ns = space(api)
  local o = api:apply(config_map(ns, "m", { a = "1" }))
  api:request("PATCH", api:path_of(o), { metadata = { finalizers = json.array { "lab.test/hold" } } },
    { content_type = "application/merge-patch+json" })
  local release = task.spawn(function()
    task.sleep(0.5)
    api:request("PATCH", api:path_of(o), { metadata = { finalizers = json.null } },
      { content_type = "application/merge-patch+json" })
  end)
  t.eq(api:delete(o, { wait = 30 }), true)
  t.eq({ get_map(api, ns, "m"), release:join() }, { nil, true })
  t.eq(api:delete(o), false, "what is not there is no failure")
end)
