--- Upgrades and etcd's majority without a cluster: the rules, what a plan is refused for, whose turn it is, which certificates end.
local test = require "tap"
local encryption_keys = require "kubeadm.encryption_keys"
local certificates, credentials = require "kubeadm.certificates", require "kubeadm.credentials"
local guard, quorum = require "kubeadm.guard", require "kubeadm.quorum"
local release = require "kubernetes.release"
local skew, survey, turn = require "kubeadm.skew", require "kubeadm.survey", require "kubeadm.turn"
local upgrade = require "kubeadm.upgrade"
local connect, crypto, task = require "kubernetes.connect", require "crypto", require "task"
local fs, process = require "fs", require "process"

local function node(name, kubelet, more)
  more = more or {}
  return { metadata = { name = name, labels = more.control_plane and { ["node-role.kubernetes.io/control-plane"] = "" } or {},
    annotations = more.mark and { [survey.MARK] = more.mark } or nil }, spec = { unschedulable = more.cordoned },
    status = { nodeInfo = { kubeletVersion = "v" .. kubelet }, conditions = { { type = "Ready", status = more.ready == false and "False" or "True" } } } }
end

local function pod(part, on, image, ready)
  return { metadata = { labels = { component = part } }, spec = { nodeName = on, containers = { { image = image } } },
    status = { conditions = { { type = "Ready", status = ready == false and "False" or "True" } } } }
end

-- A static pod that runs, and has not passed its startup probe yet.
local function starting(one)
  one.status.containerStatuses = { { ready = false, started = false, state = { running = { startedAt = "2026-01-01T00:00:00Z" } } } }
  return one
end

-- A client of a cluster: control planes { name = { kubelet, api server, options } }, workers { name = { kubelet, options } }.
local function api_of(version, planes, workers)
  local api = { nodes = {}, pods = {} }
  for name, one in pairs(planes) do
    local o = one[3] or {}
    o.control_plane = true
    api.nodes[#api.nodes + 1] = node(name, one[1], o)
    for _, part in ipairs { "kube-apiserver", "kube-controller-manager", "kube-scheduler" } do
      api.pods[#api.pods + 1] = pod(part, name, "registry.k8s.io/" .. part .. ":v" .. one[2])
    end
    api.pods[#api.pods + 1] = pod("etcd", name, "registry.k8s.io/etcd:3.6.6-0", o.etcd)
  end
  for name, one in pairs(workers or {}) do api.nodes[#api.nodes + 1] = node(name, one[1], one[2]) end
  function api.list(_, _, kind) return kind == "Node" and api.nodes or api.pods, "7" end
  function api.get() return { data = { ClusterConfiguration = "kubernetesVersion: v" .. version .. "\n" } } end
  return api
end

local function three(version) return { a = { version, version }, b = { version, version }, c = { version, version } } end

test("versions are compared as numbers", function(t)
  t.eq({ release.compare("1.36.2", "v1.36.10"), release.compare("1.9.9", "1.36.0"), release.compare("v1.36.1", "1.36.1") }, { -1, -1, 0 })
  t.eq({ release.older("1.36.2", "1.36.1"), release.older(nil, "1.36.1"), release.older("1.35.9", nil) }, { "1.36.1", "1.36.1", "1.35.9" })
end)

test("kubeadm upgrade is run again, once, when the API is there", function(t)
  local folder = fs.mktemp()
  t.after(function() fs.remove(folder, { recursive = true }) end)
  local function tool(name, text) assert(fs.write(folder .. "/" .. name, "#!/bin/sh\ncd " .. folder .. "\n" .. text, { mode = 448 })) end
  -- Each line says what ran; so many runs of kubeadm fail, and the API is ready when it is asked the second time.
  local function run(fails)
    for _, name in ipairs { "said", "done", "asked" } do fs.remove(folder .. "/" .. name) end
    tool("kubeadm", ("echo kubeadm $* >>said; [ $(grep -c ^kubeadm said) -gt %d ]"):format(fails))
    tool("kubectl", "echo kubectl >>said; [ -e asked ] || { : >asked; exit 1; }")
    local result = process.run { argv = { "/bin/sh", "-c", upgrade.program("kubeadm upgrade node", folder .. "/done") }, timeout = 30,
      env = { PATH = folder .. ":" .. process.env "PATH" } }
    return { result.code == 0, fs.stat(folder .. "/done") ~= nil, fs.read(folder .. "/said") }
  end
  local once, asked = "kubeadm upgrade node\n", "kubectl\nkubectl\n"
  t.eq(run(0), { true, true, once })
  t.eq(run(1), { true, true, once .. asked .. once })
  t.eq(run(2), { false, false, once .. asked .. once })
end)

test("an upgrade goes on by a patch or by one minor release", function(t)
  for _, row in ipairs {
    -- the cluster, its API servers, a kubelet, to -> what is said
    { "1.36.1", "1.36.1", "1.36.1", "1.36.2" },
    { "1.36.1", "1.36.1", "1.36.1", "1.37.4" },
    { "1.36.1", "1.36.1", "1.34.0", "1.37.0" },
    { "1.37.0", "1.36.1", "1.36.1", "1.37.0" },
    { "1.36.1", "1.36.1", "1.36.1", "1.38.0", "the cluster is at 1.36.1, and shall be at 1.38.0: that skips 1.37: an upgrade goes on by one minor release" },
    { "1.34.1", "1.34.1", "1.34.1", "1.37.0", "that skips minor releases" },
    { "1.36.1", "1.36.1", "1.36.1", "2.37.0", "an upgrade goes on by one minor release" },
    { "1.36.2", "1.36.2", "1.36.2", "1.36.1", "that is a downgrade, which kubeadm does not do" },
    { "1.37.0", "1.36.1", "1.36.1", "1.38.0", "the API server of n is at 1.36.1, and shall be beside 1.38.0: that skips 1.37" },
    { "1.36.1", "1.36.1", "1.33.0", "1.37.0", "the kubelet of n is at 1.33.0, more than 3 minor releases behind 1.37.0" },
    { "1.26.0", "1.26.0", "1.24.0", "1.27.0", "the kubelet of n is at 1.24.0, more than 2 minor releases behind 1.27.0" },
    { "1.36.1", "1.36.1", "1.38.0", "1.37.0", "the kubelet of n is at 1.38.0, newer than 1.37.0" },
  } do
    local why = skew.objection({ version = row[1], nodes = { n = { api_server = row[2], kubelet = row[3] } } }, row[4])
    if row[5] then t.has(tostring(why), row[5]) else t.eq(why, nil, row[4]) end
  end
end)

test("a share of the workers is at least one of them and never all", function(t)
  for _, row in ipairs { { "1", 5, 1 }, { "7", 5, 7 }, { "25%", 8, 2 }, { "25%", 3, 1 }, { "100%", 4, 3 }, { "50%", 1, 1 } } do
    t.eq(skew.limit(row[1], row[2]), row[3], row[1] .. " of " .. row[2])
  end
end)

test("what a Node runs is the oldest of its parts, and an upgrade under way is not over", function(t)
  local runs = require("kubeadm.upgrade").runs
  local now = survey.take(api_of("1.36.2", { a = { "1.36.2", "1.36.1" }, b = { "1.36.2", "1.36.2", { mark = "1.36.2 node" } } }, { w = { "1.36.0" } }))
  t.eq({ runs(now, "a"), runs(now, "b"), runs(now, "w"), runs(now, "x") }, { "1.36.1", "1.36.2, not finished", "1.36.0" })
end)

test("etcd keeps a majority", function(t)
  local function why(members, leaving) return (quorum.objection(members, leaving)) end
  t.eq(why({ a = true, b = true, c = true }, { c = "gone" }), nil)
  t.eq(why({ a = true, b = true, c = true }, { b = "gone", c = "gone" }), nil, "one after the other, each out of etcd first")
  t.eq(why({ a = true, b = true, c = false }, { c = "gone" }), nil, "the one that is broken may go")
  t.eq(why({ a = true, b = true, c = false }, { x = "gone" }), nil, "who is no member takes nothing away")
  t.eq(why({ a = true, b = true, c = true }, { c = "stopped" }), nil)
  t.has(why({ a = true, b = true, c = true }, { b = "stopped", c = "stopped" }), "etcd would lose its majority without b, c: 1 of 3 would be left")
  t.has(why({ a = true, b = true, c = false }, { b = "gone" }), "1 of 2 would be left; of 3 members c is not healthy")
  t.has(why({ a = true, b = false, c = false }, { c = "gone" }), "etcd has no majority now")
  t.has(why({ a = true }, { a = "gone" }), "0 of 0 would be left")
  t.eq(why({ a = true, b = true, c = true, d = true, e = false }, { a = "gone", b = "gone" }), nil)
  t.has(why({ a = true, b = true, c = true, d = false }, { a = "gone", b = "gone" }), "1 of 2 would be left")
end)

test("a control plane is not reset where the others could not go on", function(t)
  local api = api_of("1.36.1", { a = { "1.36.1", "1.36.1" }, b = { "1.36.1", "1.36.1" }, c = { "1.36.1", "1.36.1", { ready = false } } })
  local was, starts, hand_over = connect.client, survey.STARTS, credentials.hand_over
  t.after(function() connect.client, survey.STARTS, credentials.hand_over = was, starts, hand_over end)
  connect.client = function() return api end
  local words, handed = {}, {}
  credentials.hand_over = function(_, _, name) handed[#handed + 1] = name end
  local cluster = { endpoint = "api.test", host = { address = "192.0.2.1" } }
  local ctx = { progress = function(_, text) words[#words + 1] = text end }
  function api.watch() survey.STARTS = -1 end
  survey.STARTS = 0
  local began = task.now()
  local ok, err = pcall(quorum.guard, ctx, cluster, "B")
  t.eq({ ok, err.code }, { false, "quorum" })
  t.has(err.message, "etcd would lose its majority without b")
  t.eq(handed, {}, "who stays goes on leading")
  t.ok(pcall(quorum.guard, ctx, cluster, "c"), "the broken one may")
  -- One that has just joined is well soon.
  survey.STARTS, words = 300, {}
  local from
  function api.watch(_, _, _, options)
    from = options
    for _, object in ipairs(api.nodes) do object.status.conditions[1].status = "True" end
  end
  ok, err = pcall(quorum.guard, ctx, cluster, "b")
  t.ok(ok, "it is waited for: " .. tostring(err))
  t.eq(words, { "waiting for etcd of c" })
  t.eq(handed, { "c", "b" }, "another leads etcd then")
  t.eq(from, { namespace = "kube-system", labels = "tier=control-plane", since = "7", known = api.pods }, "what is there is no news")
  t.ok(task.now() - began < 60, "not longer than that")
  ok, err = pcall(quorum.guard, ctx, { endpoint = "api.test" }, "b")
  t.ok(ok, "all are well: " .. tostring(err))
  connect.client = function() error(require "fail" { "nobody answers", code = "unreachable" }) end
  ok, err = pcall(quorum.guard, {}, cluster, "c")
  t.eq({ ok, err.code }, { false, "quorum" }, "an answer is needed")
  quorum.whole("api.test", true)
  handed = {}
  t.ok(pcall(quorum.guard, {}, cluster, "b"), "all of it may go")
  t.eq(handed, {}, "and nobody is left to lead it")
  quorum.whole("api.test", false)
end)

-- Rows as a plan has them.
local function upgrade_row(name, from, to, address)
  return { address = address or "kubernetes.node." .. name, kind = "kubernetes.node", action = "update", file = "r.lua", line = 3,
    changes = { { path = "version", before = from, after = to } }, fields = { name = name, cluster = { endpoint = "api.test" }, control_plane = #name == 1 and name ~= "w" } }
end

local function judged(t, api, resources, state)
  local was = connect.opened
  t.after(function() connect.opened = was end)
  connect.opened = function(cluster) return cluster.endpoint == "api.test" and api or nil end
  local said = guard.run { resources = resources, state = state or {} }
  local words = {}
  for i, one in ipairs(said) do
    t.eq(one.level, "deny")
    words[i] = one.address .. ": " .. one.message
  end
  return table.concat(words, "\n")
end

test("a plan is told once why its upgrade may not be", function(t)
  local rows = { upgrade_row("a", "1.36.1", "1.38.0"), upgrade_row("b", "1.36.1", "1.38.0"), upgrade_row("c", "1.36.1", "1.38.0") }
  t.eq(judged(t, api_of("1.36.1", three "1.36.1"), rows),
    "kubernetes.node.a: the cluster is at 1.36.1, and shall be at 1.38.0: that skips 1.37: an upgrade goes on by one minor release")
end)

-- A cluster that was just made: pods of `b` wait for their startup probes, until something is watched `rounds` times.
local function just_made(rounds)
  local planes = three "1.36.1"
  planes.b[3] = { etcd = false }
  local api = api_of("1.36.1", planes)
  local late = {}
  for _, one in ipairs(api.pods) do
    if one.spec.nodeName == "b" and one.metadata.labels.component == "etcd" then
      one.metadata.name = "etcd-b"
      late[#late + 1] = starting(one)
    end
  end
  function api.watch()
    rounds = rounds - 1
    if rounds > 0 then return end
    for _, one in ipairs(late) do one.status = { conditions = { { type = "Ready", status = "True" } } } end
  end
  return api, late[1]
end

test("what only takes its time to start is no reason to refuse a plan", function(t)
  local api, pod_of_b = just_made(1)
  local now = survey.take(api)
  t.eq({ now.nodes.b.etcd, now.nodes.b.starting, now.nodes.a.starting }, { false, { ["etcd-b"] = true } })
  t.eq(skew.unwell(now), {})
  t.eq(quorum.members(now), { a = true, b = true, c = true })
  t.eq(judged(t, api, { upgrade_row("a", "1.36.1", "1.36.2") }), "")
  local function running(seconds) return { running = { startedAt = os.date("!%Y-%m-%dT%H:%M:%SZ", os.time() - seconds) } } end
  pod_of_b.status.containerStatuses[1].started, pod_of_b.status.containerStatuses[1].state = true, running(60)
  t.eq(survey.take(api).nodes.b.starting, { ["etcd-b"] = true }, "a kubelet that is late to say so")
  for _, state in ipairs { { waiting = { reason = "CrashLoopBackOff" } }, { terminated = { exitCode = 1 } }, running(400) } do
    pod_of_b.status.containerStatuses[1].state = state
    t.eq(skew.unwell(survey.take(api)), { "b" }, next(state))
  end
  pod_of_b.status.containerStatuses[1] = { ready = false, started = true, state = { running = {} } }
  survey.forget(api)
  t.has(judged(t, api, { upgrade_row("a", "1.36.1", "1.36.2") }), "control plane b is not healthy", "it has started, and fails")
  pod_of_b.status = { phase = "Pending", conditions = {} }
  t.eq(skew.unwell(survey.take(api)), {}, "it has no container yet")
  pod_of_b.status.containerStatuses = { { ready = false, started = false, state = { waiting = { reason = "ContainerCreating" } } } }
  t.eq(skew.unwell(survey.take(api)), {})
  api.nodes[1].status.conditions[1].status, api.nodes[2].status.conditions[1].status, api.nodes[3].status.conditions[1].status = "False", "False", "False"
  t.eq(#skew.unwell(survey.take(api)), 3, "where the kubelet does not report, a pod's status is old")
  t.eq(quorum.members(survey.take(api)), { a = false, b = false, c = false })
end)

test("a step waits for it, and says so", function(t)
  local said = {}
  local ctx = { progress = function(_, text) said[#said + 1] = text end }
  local now = survey.settled(ctx, (just_made(2)))
  t.eq({ now.nodes.b.etcd, now.nodes.b.starting }, { true })
  t.eq(said, { "waiting for etcd-b to start" })
  local was = survey.STARTS
  t.after(function() survey.STARTS = was end)
  survey.STARTS = -1
  local err = t.fails("etcd-b is still starting after -1 s", survey.settled, ctx, (just_made(9)))
  t.eq(err.code, "starting")
  t.has(err.hint, "kubectl describe pod -n kube-system etcd-b")
end)

test("an upgrade begins with healthy control planes, and goes on with those that it has under way", function(t)
  local rows = { upgrade_row("a", "1.36.1", "1.36.2") }
  local planes = three "1.36.1"
  t.eq(judged(t, api_of("1.36.1", planes), rows), "")
  planes.b[3] = { ready = false }
  t.has(judged(t, api_of("1.36.1", planes), rows), "control plane b is not healthy")
  planes.b[3] = { etcd = false }
  t.has(judged(t, api_of("1.36.1", planes), rows), "control plane b is not healthy")
  planes.b[3] = { ready = false, mark = "1.36.2 node" }
  t.eq(judged(t, api_of("1.36.2", planes), rows), "")
end)

test("a Node that joins is no upgrade, but may not be newer than the API servers either", function(t)
  local planes = three "1.36.1"
  planes.b[3] = { ready = false }
  local function joining(version)
    local row = upgrade_row("w", nil, version)
    row.action = "create"
    return { row }
  end
  t.eq(judged(t, api_of("1.36.1", planes), joining "1.36.1"), "")
  t.eq(judged(t, api_of("1.36.1", planes), joining "1.35.0"), "kubernetes.node.w: the cluster is at 1.36.1, and shall be at 1.35.0: "
    .. "that is a downgrade, which kubeadm does not do")
  t.has(judged(t, api_of("1.36.1", planes), joining "1.36.2"), "newer than the API server of a, b, c")
end)

test("a worker does not become newer than the API servers", function(t)
  local api = api_of("1.36.1", three "1.36.1", { w = { "1.36.1" } })
  t.has(judged(t, api, { upgrade_row("w", "1.36.1", "1.36.2") }), "newer than the API server of a, b, c, which this plan does not upgrade")
  t.eq(judged(t, api, { upgrade_row("w", "1.36.1", "1.36.2"), upgrade_row("a", "1.36.1", "1.36.2"), upgrade_row("b", "1.36.1", "1.36.2"),
    upgrade_row("c", "1.36.1", "1.36.2") }), "")
end)

local STATE = {
  { address = "ssh.host.a", kind = "ssh.host", fields = { hostname = "a" } },
  { address = "ssh.host.b", kind = "ssh.host", fields = { name = "b" } },
  { address = "ssh.host.c", kind = "ssh.host", fields = { hostname = "c" } },
  { address = "kubeadm.init.x", kind = "kubeadm.init", fields = { endpoint = "api.test", host = { ["$ref"] = "ssh.host.a" } } },
  { address = "kubeadm.join.b", kind = "kubeadm.join", fields = { control_plane = true, cluster = { ["$ref"] = "kubeadm.init.x" },
    host = { ["$ref"] = "ssh.host.b" } } },
  { address = "kubeadm.join.c", kind = "kubeadm.join", fields = { control_plane = true, cluster = { ["$ref"] = "kubeadm.init.x" },
    host = { ["$ref"] = "ssh.host.c" } } },
  { address = "kubeadm.join.w", kind = "kubeadm.join", fields = { control_plane = false, cluster = { ["$ref"] = "kubeadm.init.x" } } },
  { address = "kubernetes.node.b", kind = "kubernetes.node", fields = { name = "b", version = "1.36.1" } },
}

local function gone(address, action) return { address = address, kind = address:match "^%w+%.%w+", action = action or "delete", fields = {} } end
local function machine(name, action, changes)
  return { address = "azure.virtual_machine." .. name, kind = "azure.virtual_machine", action = action, changes = changes, fields = { name = name } }
end

test("members leave etcd by their join, by their machine, or when it is stopped", function(t)
  local sick = three "1.36.1"
  sick.c[3] = { ready = false }
  local power = { { path = "power", before = "running", after = "deallocated" } }
  for _, row in ipairs { gone "kubeadm.join.b", machine("b", "delete"), machine("b", "replace"), machine("b", "update", power) } do
    t.eq(judged(t, api_of("1.36.1", three "1.36.1"), { row }, STATE), "", row.address .. " of three that are well")
    t.has(judged(t, api_of("1.36.1", sick), { row }, STATE), row.address .. ": etcd would lose its majority without b", row.action)
    t.has(judged(t, nil, { row }, STATE), "it is not known whether etcd keeps its majority without b: this plan did not ask")
  end
  t.eq(judged(t, api_of("1.36.1", sick), { machine("b", "update", { { path = "tags" } }) }, STATE), "", "not every change")
  t.eq(judged(t, api_of("1.36.1", sick), { gone "kubeadm.join.w", machine("w", "delete") }, STATE), "", "not every machine")
end)

test("a whole cluster may be destroyed, and not be replaced", function(t)
  local all = { gone "kubeadm.init.x", gone "kubeadm.join.b", gone "kubeadm.join.c" }
  t.eq(judged(t, nil, all, STATE), "")
  t.ok(pcall(quorum.guard, {}, { endpoint = "api.test" }, "a"), "nor does its last step ask")
  t.has(judged(t, api_of("1.36.1", three "1.36.1"), { gone("kubeadm.init.x", "replace") }, STATE), "a new, empty cluster would take the place")
  t.ok(not pcall(quorum.guard, {}, { endpoint = "api.test" }, "a"), "the next plan is another")
  local asked = gone("kubeadm.init.x", "replace")
  asked.reason = "asked for"
  t.eq(judged(t, nil, { asked, machine("a", "replace") }, STATE), "", "who says so may")
  quorum.whole("api.test", false)
end)

test("a repository of a minor release that is skipped is refused by what the state says", function(t)
  local row = { address = "kubeadm.node.b", kind = "kubeadm.node", action = "update", fields = { version = "1.38.0", host = { hostname = "b" } } }
  t.has(judged(t, nil, { row, row }, STATE), "kubeadm.node.b: the cluster is at 1.36.1, and shall be at 1.38.0")
  row.fields.version = "1.37.0"
  t.eq(judged(t, nil, { row }, STATE), "")
end)

-- Workers w1 to wN of a cluster, each taking a while; returns who ran, the most at once, and what was raised.
local function run_turns(limit, workers, broken)
  local api = api_of("1.36.2", { a = { "1.36.2", "1.36.2" } }, workers)
  local ran, at_once, most, errors, running = {}, 0, 0, {}, {}
  for _, name in ipairs { "w1", "w2", "w3", "w4" } do
    if workers[name] then
      running[name] = task.spawn(function()
        turn.run({ progress = function() end }, api, name, "upgrade", workers[name][2] and workers[name][2].mark ~= nil, limit, function()
          ran[#ran + 1], at_once = name, at_once + 1
          most = math.max(most, at_once)
          task.sleep(0.02)
          at_once = at_once - 1
          if name == broken then error(require "fail" { "broken", code = "test" }) end
        end)
      end)
    end
  end
  for name, one in pairs(running) do
    local ok, err = one:join()
    if not ok then errors[name] = err.message end
  end
  return ran, most, errors
end

test("no more workers than may be are away at once", function(t)
  local four = { w1 = { "1.36.1" }, w2 = { "1.36.1" }, w3 = { "1.36.1" }, w4 = { "1.36.1" } }
  for _, row in ipairs { { "1", 1 }, { "2", 2 }, { "50%", 2 }, { "75%", 3 } } do
    local ran, most, errors = run_turns(row[1], four)
    t.eq({ #ran, most, next(errors) }, { 4, row[2] }, row[1])
  end
end)

test("what was under way goes first", function(t)
  local workers = { w1 = { "1.36.1" }, w2 = { "1.36.1" }, w3 = { "1.36.1", { mark = "1.36.2 node", cordoned = true } } }
  local api_nodes = run_turns("2", workers)
  t.eq(#api_nodes, 3)
  local ran = {}
  local api = api_of("1.36.2", { a = { "1.36.2", "1.36.2" } }, workers)
  local first = task.spawn(function()
    turn.run({ progress = function() end }, api, "w1", "upgrade", false, "1", function() ran[#ran + 1] = "w1" end)
  end)
  task.sleep(0.02)
  t.eq(#ran, 0, "one that is marked is away")
  turn.run({ progress = function() end }, api, "w3", "upgrade", true, "1", function()
    ran[#ran + 1] = "w3"
    for _, one in ipairs(api.nodes) do one.metadata.annotations = nil end
  end)
  t.ok(first:join())
  t.eq(ran, { "w3", "w1" })
end)

test("after one has failed none is begun, until the next plan", function(t)
  local ran, _, errors = run_turns("1", { w1 = { "1.36.1" }, w2 = { "1.36.1" }, w3 = { "1.36.1" } }, "w1")
  t.eq(ran, { "w1" })
  t.eq(errors, { w1 = "broken", w2 = "the upgrade of node w2 was not begun: that of w1 has failed",
    w3 = "the upgrade of node w3 was not begun: that of w1 has failed" })
end)

test("a key that is in use stays where it is kept, unless the plan rotates it", function(t)
  local state = { { address = "kubeadm.encryption.secrets", kind = "kubeadm.encryption", fields = { name = "old", cluster = { ["$ref"] = "kubeadm.init.x" } } } }
  local function key(action, name, from)
    return { address = "azure.vault_random.k", kind = "azure.vault_random", action = action, fields = { name = name },
      changes = from and { { path = "name", before = from, after = name } } }
  end
  local rotation = { address = "kubeadm.encryption.secrets", kind = "kubeadm.encryption", action = "update", fields = { name = "new", cluster = { endpoint = "api.test" } } }
  local WHY = "azure.vault_random.k: the control planes use the key old, and this plan does not rotate it"
  t.eq(judged(t, nil, { key("replace", "new", "old") }, state), WHY)
  t.eq(judged(t, nil, { key("delete", "old") }, state), WHY, "what a run left that died")
  t.eq(judged(t, nil, { key("replace", "new", "older") }, state), "", "another one")
  t.eq(judged(t, nil, { key("create", "new") }, state), "")
  t.eq(judged(t, nil, { key("replace", "new", "old"), rotation }, state), "")
  rotation.action = "delete"
  t.eq(judged(t, nil, { key("delete", "old"), rotation }, state), "", "all of it goes")
  rotation.action = "update"
  encryption_keys.refuse("api.test", { why = "control plane b is not healthy", hint = "bring it back" })
  t.after(function() encryption_keys.refuse("api.test", nil) end)
  t.eq(judged(t, nil, { rotation }, state), "kubeadm.encryption.secrets: control plane b is not healthy", "what its read has found")
  rotation.action = "delete"
  t.eq(judged(t, nil, { rotation }, state), "")
end)

test("certificates that end within 30 days are named, the first to end first", function(t)
  local now = task.time()
  local ca = crypto.x509_ca { cn = "ca", days = 3650 }
  local function issued(days) return crypto.x509_issue { ca = ca, cn = "x", days = days, usage = { "client" } }.cert end
  local told = "# apiserver.crt\n" .. issued(10) .. "# etcd/peer.crt\n" .. issued(365) .. "# admin.conf\n" .. crypto.base64(issued(5)):gsub("\n", "") ..
    "\n# scheduler.conf\nnot a certificate\n"
  local names = {}
  for i, one in ipairs(certificates.soon(told, now)) do names[i] = one.name end
  t.eq(names, { "admin.conf", "apiserver" })
  t.eq(certificates.soon("", now), {})
  local changes, note = certificates.differs({ certificates = told }, { renew = true })
  t.eq({ #changes, changes[1].path, changes[1].new }, { 1, "certificates", "renewed" })
  t.has(changes[1].old, os.date("!%Y-%m-%d", math.floor(now + 5 * 86400)) .. ": admin.conf; ")
  t.has(note, "2 certificates of this control plane end within 30 days, admin.conf on ")
  changes, note = certificates.differs({ certificates = told }, { renew = false })
  t.eq({ #changes, #certificates.differs({ certificates = "" }, { renew = true }) }, { 0, 0 })
  t.has(note, "with renew = false they stay as they are")
end)

test.done()
