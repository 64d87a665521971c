--- Recipes by the program itself: plan, apply, drift, prune, conflict, destroy.
local support = require "support"
local fs, json, process, task = require "fs", require "json", require "process", require "task"
local case, config_map, connect, get_map = support.case, support.config_map, support.connect, support.get_map
local space, version = support.space, support.version

local HEAD = [[
local p = params { kubeconfig = param.secret { env = "LAB_KUBECONFIG" }, namespace = param.string {},
  names = param.string { default = "a" },
  value = param.string { default = "1" }, force = param.boolean { default = false } }
local kubernetes = use "kubernetes"
local cluster = kubernetes.cluster "lab" { kubeconfig = p.kubeconfig }
]]

local MAPS = HEAD .. [[
local maps = {}
for name in p.names:gmatch "%a+" do
  maps[#maps + 1] = { apiVersion = "v1", kind = "ConfigMap", metadata = { name = name, namespace = p.namespace },
    data = { v = p.value } }
end
kubernetes.manifest "maps" { cluster = cluster, objects = maps, force = p.force }
]]

-- The verbs on a recipe: verb(parameter, ...) gives the exit code and what was said.
local function stack(t, lab, ns, text, kubeconfig)
  local dir = t.tmp()
  assert(fs.write(dir .. "/recipe.lua", text))
  local verbs = { dir = dir }
  return setmetatable(verbs, { __index = function(_, verb)
    return function(...)
      local argv = { process.self(), verb, dir .. "/recipe.lua", "--state-dir", dir .. "/state" }
      if verb ~= "plan" then argv[#argv + 1] = "--yes" end
      if verb ~= "destroy" then argv[#argv + 1] = "namespace=" .. ns end
      table.move({ ... }, 1, select("#", ...), #argv + 1, argv)
      local ended = assert(process.run { argv = argv, timeout = 140, env = { LAB_KUBECONFIG = kubeconfig or lab:kubeconfig(),
        NO_COLOR = "1",
        VMRUN_LOG = false, HTTPS_PROXY = false } })
      return ended.code, ended.stdout .. ended.stderr
    end
  end })
end

-- A verb that must end with a code; returns what was said.
local function goes(t, wanted, code, said)
  t.eq(code, wanted, said)
  return said
end

local function edit(api, ns, name, data)
  return api:request("PATCH", api:path("v1", "ConfigMap", ns, name) .. "?fieldManager=somebody", { data = data },
    { content_type = "application/merge-patch+json" })
end

case("a recipe applies, is as declared, mends what drifts and takes away what left it", function(t, lab)
  local api = connect(lab:parts())
  local ns = space(api)
  local run = stack(t, lab, ns, MAPS)
  t.has(goes(t, 0, run.plan "names=a b"), "Plan: 1 to add, 0 to change, 0 to destroy.")
  t.eq(get_map(api, ns, "a"), nil, "a plan writes nothing")
  goes(t, 0, run.apply "names=a b")
  local made = version(get_map(api, ns, "a"))
  t.has(goes(t, 0, run.plan "names=a b"), "No changes.")
  t.has(goes(t, 0, run.apply "names=a b"), "No changes.")
  t.eq(version(get_map(api, ns, "a")), made)
  -- what it shows is what it does
  local said = goes(t, 0, run.plan("names=a c", "value=2"))
  for _, line in ipairs { 'ConfigMap a.data.v: "1" -> "2"', ("v1/ConfigMap/%s/b: \"no longer declared\" -> (goes)"):format(ns),
    ("v1/ConfigMap/%s/c: \"to be made\""):format(ns) } do t.has(said, line) end
  api:apply(config_map(ns, "others", { v = "1" }), { manager = "other" })
  goes(t, 0, run.apply("names=a c", "value=2"))
  t.eq({ get_map(api, ns, "a").data.v, get_map(api, ns, "b"), get_map(api, ns, "c").data.v, get_map(api, ns, "others").data.v },
    { "2", nil, "2", "1" })
  -- what somebody adds is theirs, what somebody deletes comes again
  edit(api, ns, "a", { more = "theirs" })
  t.has(goes(t, 0, run.plan("names=a c", "value=2")), "No changes.")
  api:delete(config_map(ns, "c"))
  t.has(goes(t, 0, run.plan("names=a c", "value=2")), "to be made")
  goes(t, 0, run.apply("names=a c", "value=2"))
  t.eq(get_map(api, ns, "a").data, { v = "2", more = "theirs" })
  goes(t, 0, run.destroy())
  t.eq({ get_map(api, ns, "a"), get_map(api, ns, "c"), get_map(api, ns, "others").data.v }, { nil, nil, "1" })
end)

case("what others made under our names is not pruned", function(t, lab)
  local api = connect(lab:parts())
  local ns = space(api)
  local run = stack(t, lab, ns, MAPS)
  goes(t, 0, run.apply "names=a b")
  api:delete(config_map(ns, "b"))
  api:apply(config_map(ns, "b", { v = "theirs" }), { manager = "other" })
  t.has(goes(t, 0, run.plan "names=a"), "No changes.")
  goes(t, 0, run.apply "names=a")
  t.eq(get_map(api, ns, "b").data.v, "theirs")
  api:delete(config_map(ns, "a"))
  api:apply(config_map(ns, "a", { v = "theirs" }), { manager = "other" })
  goes(t, 0, run.destroy())
  t.eq(get_map(api, ns, "a").data.v, "theirs")
end)

-- The first letters of `names` are the left manifest's, those after a dash the right one's; `x` leaves the left one out.
local TWO = HEAD .. [[
local function maps(names)
  local list = {}
  for name in names:gmatch "%a" do
    list[#list + 1] = { apiVersion = "v1", kind = "ConfigMap", metadata = { name = name, namespace = p.namespace },
      data = { v = p.value } }
  end
  return list
end
local left, right = p.names:match "^(.-)%-(.*)$"
if left ~= "x" then kubernetes.manifest "left" { cluster = cluster, objects = maps(left) } end
kubernetes.manifest "right" { cluster = cluster, objects = maps(right) }
]]

case("an object that moves to another manifest stays", function(t, lab)
  local api = connect(lab:parts())
  local ns = space(api)
  local run = stack(t, lab, ns, TWO)
  local function uids(names)
    local list = {}
    for name in names:gmatch "%a" do list[#list + 1] = (get_map(api, ns, name) or { metadata = {} }).metadata.uid or "" end
    return table.concat(list, " ")
  end
  goes(t, 0, run.apply "names=ab-c")
  local before = uids "abc"
  goes(t, 0, run.apply "names=a-bc")
  t.eq(uids "abc", before)
  goes(t, 0, run.apply "names=x-abc")
  t.eq(uids "abc", before)
  t.has(goes(t, 0, run.plan "names=x-abc"), "No changes.")
  goes(t, 0, run.apply "names=x-ac")
  t.eq(get_map(api, ns, "b"), nil)
end)

case("a recipe's conflict is said with the field, the holder and the line", function(t, lab)
  local api = connect(lab:parts())
  local ns = space(api)
  local run = stack(t, lab, ns, MAPS)
  goes(t, 0, run.apply())
  edit(api, ns, "a", { v = "9" })
  for _, verb in ipairs { "plan", "apply" } do
    local said = goes(t, 1, run[verb]())
    t.ok(said:find "/recipe%.lua:%d+: kubernetes%.manifest%.maps: ", said)
    t.has(said, 'apply ConfigMap a: others hold fields of it: .data.v (conflict with "somebody" using v1')
    t.has(said, "force = true")
  end
  t.eq(get_map(api, ns, "a").data.v, "9")
  t.has(goes(t, 0, run.apply "force=true"), "(changed outside)")
  t.eq(get_map(api, ns, "a").data.v, "1")
end)

case("a definition, its object and a rollout in one recipe, by references", function(t, lab)
  local api = connect(lab:parts())
  local ns = space(api)
  local crd, v1 = support.definition()
  local function lua(value) -- as a long text, which a manifest takes: JSON is YAML
    return "[==[" .. json.encode(value) .. "]==]"
  end
  local app = support.deployment(ns, "app")
  local run = stack(t, lab, ns, HEAD .. ([[
local crd = kubernetes.manifest "crd" { cluster = cluster, text = %s }
kubernetes.object "widget" { cluster = cluster, api_version = "%s", object_kind = "Widget", object_name = "w",
  namespace = p.namespace,
  body = { spec = { size = 4 } }, after = crd }
local app = kubernetes.manifest "app" { cluster = cluster, text = %s }
kubernetes.wait "app" { cluster = cluster, api_version = "apps/v1", object_kind = "Deployment", object_name = "app",
  namespace = p.namespace,
  condition = "Available", seconds = 60, after = app }
]]):format(lua(crd), v1, lua(app)))
  local said = goes(t, 0, run.apply())
  t.has(said, "Done: 4 added")
  t.eq(api:get(v1, "Widget", ns, "w").spec.size, 4)
  t.eq(api:get("apps/v1", "Deployment", ns, "app").status.availableReplicas, 2)
  t.has(goes(t, 0, run.plan()), "No changes.")
  api:merge({ apiVersion = v1, kind = "Widget", metadata = { name = "w", namespace = ns } }, { spec = { color = "red" } })
  t.has(goes(t, 0, run.plan()), "No changes.")
  goes(t, 0, run.destroy())
  t.eq({ api:get(v1, "Widget", ns, "w"), api:get("apps/v1", "Deployment", ns, "app") }, {})
end)

case("a recipe over a restart of the server", function(t, lab)
  local api = connect(lab:parts(), 60)
  local ns = space(api)
  local names = {}
  for i = 0, 79 do names[#names + 1] = string.char(97 + i // 26, 97 + i % 26) end
  local run = stack(t, lab, ns, MAPS)
  local job = task.spawn(function() return run.apply("names=" .. table.concat(names, " ")) end)
  local ends = task.now() + 30
  while #api:list("v1", "ConfigMap", { namespace = ns }) < 5 and task.now() < ends do task.sleep(0.005) end
  lab:restart()
  local _, code, said = job:join()
  t.eq(code, 0, said)
  local count = 0
  for _, o in ipairs(api:list("v1", "ConfigMap", { namespace = ns })) do if #o.metadata.name == 2 then count = count + 1 end end
  t.eq(count, 80)
end)

case("a recipe by an exec plugin, whose token is nowhere to be read", function(t, lab)
  local api = connect(lab:parts())
  local ns, dir = space(api), t.tmp()
  local token = support.robot(api, ns)()
  assert(fs.write(dir .. "/plugin", "#!/bin/sh\necho run >>" .. dir .. "/runs\ncat " .. dir .. "/answer\n",
    { mode = tonumber("700", 8) }))
  assert(fs.write(dir .. "/answer", json.encode { apiVersion = "client.authentication.k8s.io/v1", kind = "ExecCredential",
    status = { token = token } }))
  local run = stack(t, lab, ns, MAPS, lab:kubeconfig { exec = { apiVersion = "client.authentication.k8s.io/v1", command = dir
    .. "/plugin",
    interactiveMode = "Never" } })
  support.eventually(function() return pcall(connect(lab:parts { token = token }).list, connect(lab:parts { token = token }),
    "v1", "ConfigMap", { namespace = ns }) end)
  local said = goes(t, 0, run.apply())
  t.eq(select(2, fs.read(dir .. "/runs"):gsub("run", "")), 1, "one run, one question")
  t.eq(get_map(api, ns, "a").data.v, "1")
  t.ok(not said:find(token, 1, true))
  local found = process.run { argv = { "grep", "-rlF", token, run.dir }, timeout = 20 }
  t.eq(found.stdout, "")
  assert(fs.write(dir .. "/plugin", "#!/bin/sh\necho no login >&2\nexit 1\n", { mode = tonumber("700", 8) }))
  t.has(goes(t, 1, run.plan()), "exec plugin 'plugin' ended with exit code 1: no login")
end)

case("a cluster that is not there is unknown, and nothing is planned for it", function(t, lab)
  local api = connect(lab:parts())
  local ns = space(api)
  local run = stack(t, lab, ns, MAPS)
  goes(t, 0, run.apply())
  lab:stop_api "KILL"
  local code, said = run.plan()
  lab:start_api()
  t.ok(code ~= 0, said)
  t.has(said, "unreachable")
  t.has(goes(t, 0, run.plan()), "No changes.")
end)
