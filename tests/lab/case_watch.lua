--- Watches and lists, over whatever breaks them.
local support = require "support"
local client, http, proxy, task = require "kubernetes.client", require "http", require "proxy", require "task"
local case, config_map, connect, failure = support.case, support.config_map, support.connect, support.failure
local space, version = support.space, support.version

-- Watching.

-- Watches ConfigMaps of a namespace into a list of texts such as "ADDED a=1", until `last`.
local function watching(parts, ns, options, seconds, last)
  local seen = {}
  options.namespace = ns
  local job = task.spawn(function()
    return client.new(parts):watch("v1", "ConfigMap", options, seconds, function(event, o)
      if o.metadata.name ~= "kube-root-ca.crt" then seen[#seen + 1] = ("%s %s=%s"):format(event, o.metadata.name, o.data
        and o.data.v or "") end
      return o.metadata.name == last
    end)
  end)
  return seen, job
end

local function until_seen(seen, count)
  local ends = task.now() + 20
  while #seen < count and task.now() < ends do task.sleep(0.01) end
end

case("a watch tells what is there, and then each change once", function(t, lab)
  local api = connect(lab:parts())
  local ns = space(api)
  api:apply(config_map(ns, "a", { v = "1" }))
  local seen, job = watching(lab:parts(), ns, {}, 30, "last")
  until_seen(seen, 1)
  api:apply(config_map(ns, "b", { v = "1" }))
  api:apply(config_map(ns, "a", { v = "2" }))
  api:delete(config_map(ns, "a"))
  api:apply(config_map(ns, "last", {}))
  t.eq(table.pack(job:join())[2], true)
  t.eq(seen, { "ADDED a=1", "ADDED b=1", "MODIFIED a=2", "DELETED a=2", "ADDED last=" })
end)

case("bookmarks move a watch on while nothing happens to it", function(t, lab)
  local api = connect(lab:parts())
  local ns, elsewhere = space(api), space(api)
  local _, since = api:list("v1", "ConfigMap", { namespace = ns })
  local now
  local job = task.spawn(function()
    local _, upto = api:watch("v1", "ConfigMap", { namespace = ns, since = since, labels = "lab=none" }, 5,
      function() error "nothing happens" end)
    return upto
  end)
  task.sleep(0.3)
  now = api:apply(config_map(elsewhere, "m", { a = "1" }))
  local _, upto = job:join()
  t.ok(tonumber(upto) >= tonumber(version(now)), ("told up to %s, written %s, begun at %s"):format(upto, version(now), since))
end)

case("a watch whose connection breaks goes on where it was", function(t, lab)
  local api = connect(lab:parts())
  local ns = space(api)
  local wire <close> = proxy.wire(lab)
  local seen, job = watching(wire:parts(), ns, {}, 40, "last")
  for i = 1, 5 do
    api:apply(config_map(ns, "m" .. i, { v = "1" }))
    if i % 2 == 1 then
      until_seen(seen, (i * 3 - 1) // 2)
      t.ok(wire:cut() > 0, "there was a connection to break")
      api:delete(config_map(ns, "m" .. i))
    end
  end
  api:apply(config_map(ns, "last", {}))
  t.eq(table.pack(job:join())[2], true)
  t.eq(seen, { "ADDED m1=1", "DELETED m1=1", "ADDED m2=1", "ADDED m3=1", "DELETED m3=1", "ADDED m4=1", "ADDED m5=1",
    "DELETED m5=1", "ADDED last=" })
end)

case("a watch over a restart of the server loses nothing", function(t, lab)
  local api = connect(lab:parts(), 60)
  local ns = space(api)
  api:apply(config_map(ns, "a", { v = "1" }))
  api:apply(config_map(ns, "b", { v = "1" }))
  local seen, job = watching(lab:parts(), ns, {}, 90, "last")
  until_seen(seen, 2)
  lab:stop_api "KILL"
  local writer = task.spawn(function()
    api:delete(config_map(ns, "a")) -- it waits for the server
    api:apply(config_map(ns, "b", { v = "2" }))
    api:apply(config_map(ns, "last", {}))
  end)
  lab:start_api()
  t.ok(writer:join())
  t.eq(table.pack(job:join())[2], true)
  table.sort(seen)
  t.eq(seen, { "ADDED a=1", "ADDED b=1", "ADDED last=", "DELETED a=1", "MODIFIED b=2" })
end)

case("a version that the server has forgotten is listed again", function(t, lab)
  local api = connect(lab:parts(), 60)
  local ns = space(api)
  local gone = api:apply(config_map(ns, "gone", { v = "1" }))
  local kept = api:apply(config_map(ns, "kept", { v = "1" }))
  local changed = api:apply(config_map(ns, "changed", { v = "1" }))
  local since = version(changed)
  api:delete(gone)
  api:apply(config_map(ns, "changed", { v = "2" }))
  api:apply(config_map(ns, "new", { v = "1" }))
  lab:restart()
  lab:compact()
  local stream = http.open { method = "GET", ca = lab.authority.cert, cert = lab.admin.cert, key = lab.admin.key, proxy = "",
    url = ("%s/api/v1/namespaces/%s/configmaps?watch=true&timeoutSeconds=5&resourceVersion=%s"):format(lab.url, ns, since) }
  local said = stream:read(5) or ""
  stream:close()
  t.has(said, '"code":410')
  local seen, job = watching(lab:parts(), ns, { since = since, known = { gone, kept, changed } }, 30, "last")
  until_seen(seen, 3)
  api:apply(config_map(ns, "last", {}))
  t.eq(table.pack(job:join())[2], true)
  table.sort(seen)
  t.eq(seen, { "ADDED last=", "ADDED new=1", "DELETED gone=1", "MODIFIED changed=2" })
end)

case("a watch that may not be is refused, not repeated", function(t, lab)
  local api = client.new(lab:parts(lab:certificate "nobody"))
  local began = task.now()
  local err = failure(t, "watch", api.watch, api, "v1", "Secret", { since = "1" }, 20, function() end)
  t.eq(err.code, "Forbidden")
  t.ok(task.now() - began < 5, "at once")
end)

-- Lists.

case("a list comes in pages", function(t, lab)
  local ways <close> = proxy.faults(lab)
  local api = connect(ways:parts())
  local ns = space(api)
  for i = 1, 7 do api:apply(config_map(ns, "m" .. i, { v = "1" }, { of = "list" })) end
  local before = ways:count("GET", "/configmaps")
  local items, upto = api:list("v1", "ConfigMap", { namespace = ns, labels = "of=list", limit = 3 })
  local names = {}
  for i, item in ipairs(items) do names[i] = item.metadata.name end
  t.eq(names, { "m1", "m2", "m3", "m4", "m5", "m6", "m7" })
  t.eq(ways:count("GET", "/configmaps") - before, 3)
  t.ok(tonumber(upto) >= tonumber(version(items[7])), "it says up to when")
  t.eq({ items[1].kind, items[1].apiVersion }, { "ConfigMap", "v1" })
end)

case("pages are of one version of the world", function(t, lab)
  local ways <close> = proxy.faults(lab)
  local api, other = connect(ways:parts()), connect(lab:parts())
  local ns = space(api)
  for i = 1, 6 do api:apply(config_map(ns, "m" .. i, { v = "1" }, { of = "list" })) end
  local pages = 0
  function ways.answer(req)
    if req.method == "GET" and req.path:find("/configmaps", 1, true) then
      pages = pages + 1
      if pages == 2 then
        other:delete(config_map(ns, "m5"))
        other:apply(config_map(ns, "m3", { v = "2" }, { of = "list" }))
        other:apply(config_map(ns, "m55", { v = "1" }, { of = "list" }))
      end
    end
  end
  local seen = {}
  for i, item in ipairs(api:list("v1", "ConfigMap", { namespace = ns, labels = "of=list", limit = 2 })) do
    seen[i] = item.metadata.name .. item.data.v
  end
  t.eq(seen, { "m11", "m21", "m31", "m41", "m51", "m61" })
end)

case("a list whose version is forgotten between two pages begins again", function(t, lab)
  local ways <close> = proxy.faults(lab)
  local api, other = connect(ways:parts()), connect(lab:parts())
  local ns = space(api)
  for i = 1, 6 do api:apply(config_map(ns, "m" .. i, { v = "1" }, { of = "list" })) end
  local pages, forgotten = 0, 0
  function ways.answer(req)
    if req.method == "GET" and req.path:find("/configmaps", 1, true) then
      pages = pages + 1
      if pages == 3 then
        other:apply(config_map(ns, "m3", { v = "2" }, { of = "list" }))
        other:delete(config_map(ns, "m1"))
        lab:compact()
        forgotten = forgotten + 1
      end
    end
  end
  local seen = {}
  for i, item in ipairs(api:list("v1", "ConfigMap", { namespace = ns, labels = "of=list", limit = 2 })) do
    seen[i] = item.metadata.name .. item.data.v
  end
  t.eq(seen, { "m21", "m32", "m41", "m51", "m61" })
  t.eq({ forgotten, pages }, { 1, 6 }, "two pages, one that is refused, and three of the new list")
end)
