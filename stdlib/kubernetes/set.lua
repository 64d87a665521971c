--- Kinds that stand for a set of objects in a cluster: `kubernetes.manifest`, `flannel.network` and their like differ only in
-- where the objects come from. `set.define "name" { doc =, fields =, objects = function(ctx) -> list of objects }`; `before(ctx, api)`
-- may wait for what has to be so before they are applied.
local connect = require "kubernetes.connect"
local field, json, kind = require "field", require "json", require "kind"
local objects = require "kubernetes.objects"

local function ids_of(list)
  local ids = json.array {}
  for i, object in ipairs(list) do ids[i] = objects.id(object) end
  return ids
end

-- What each set of this run declares: an object that has moved from one to another is not pruned by the first.
local declared = {} -- the set's address -> { cluster =, ids = { [id] = true } }

local function declare(ctx, list)
  local ids = {}
  for _, object in ipairs(list) do ids[objects.id(object)] = true end
  declared[ctx.address] = { cluster = connect.identity(ctx.fields.cluster), ids = ids }
end

local function is_declared(cluster, id)
  for _, set in pairs(declared) do if set.cluster == cluster and set.ids[id] then return true end end
  return false
end

-- The objects that a set had and that no set declares any more.
local function gone(ctx)
  local cluster, missing = connect.identity(ctx.fields.cluster), {}
  for _, id in ipairs(ctx.prior and ctx.prior.outputs and ctx.prior.outputs.objects or {}) do
    if not is_declared(cluster, id) then missing[#missing + 1] = objects.from_id(id) end
  end
  return missing
end

local function options_of(f) return { force = f.force, manager = f.manager } end

local function read(page, ctx)
  local api, list = connect.client(ctx, ctx.fields.cluster), page.objects(ctx)
  declare(ctx, list)
  local changes, there, results = {}, 0, {}
  objects.all(list, function(object)
    results[object] = objects.compare(api, object, options_of(ctx.fields)) or "absent"
  end)
  for _, object in ipairs(list) do
    local found = results[object]
    if found == "absent" then
      changes[#changes + 1] = { path = objects.id(object), new = "to be made" }
    else
      there = there + 1
      for _, change in ipairs(found) do changes[#changes + 1] = change end
    end
  end
  if there == 0 and #list > 0 then return nil end
  if ctx.fields.prune ~= false then
    for _, object in ipairs(objects.ours(api, gone(ctx), ctx.fields.manager)) do
      changes[#changes + 1] = { path = objects.id(object), old = "no longer declared" }
    end
  end
  return { fields = ctx.fields, outputs = { objects = ids_of(list) }, changes = changes }
end

local function apply(page, ctx)
  local api, list = connect.client(ctx, ctx.fields.cluster), page.objects(ctx)
  declare(ctx, list)
  if page.before then page.before(ctx, api) end
  local options = options_of(ctx.fields)
  options.unsettled = not ctx.fields.wait
  -- Old servers write an object anew though nothing of it changes; what is as declared is left alone.
  objects.apply(api, ctx.prior and objects.stale(api, list, options) or list, options)
  if ctx.fields.prune ~= false then objects.delete(api, objects.ours(api, gone(ctx), ctx.fields.manager)) end
  if ctx.fields.wait then
    ctx:progress("waiting for the rollout")
    objects.wait(api, list, page.timeouts.create - 30)
  end
  return { outputs = { objects = ids_of(list) } }
end

local function define(name)
  return function(page)
    page.fields = page.fields or {}
    page.fields.cluster = field.resource { "kubeadm.init", "kubernetes.cluster", required = true, replace = true, doc = "The cluster." }
    page.fields.wait = page.fields.wait or field.boolean { default = true, ignore = true, doc = "Wait until all is rolled out." }
    page.fields.force = field.boolean { default = false, ignore = true, doc = "Take over fields that others hold." }
    page.fields.prune = field.boolean { default = true, ignore = true, doc = "Delete what is no longer declared." }
    page.outputs = { objects = field.list { field.string {}, doc = "What was applied." } }
    page.timeouts = page.timeouts or { read = 120, create = 600, update = 600, delete = 300 }
    if not page.identity then
      page.fields.name = page.fields.name or field.string { default_name = true, ignore = true }
      page.identity = function(f)
        local cluster = connect.identity(f.cluster)
        return cluster and f.name and ("%s/%s/%s"):format(cluster, name, f.name) or nil
      end
    end
    page.read, page.needs_all = function(ctx) return read(page, ctx) end, true
    page.create = function(ctx) return apply(page, ctx) end
    page.update = page.create
    page.delete = function(ctx)
      if connect.is_lost(ctx.fields.cluster) then return end
      local api = connect.client(ctx, ctx.fields.cluster)
      declared[ctx.address] = nil
      objects.delete(api, objects.ours(api, gone(ctx), ctx.fields.manager))
    end
    return kind(name)(page)
  end
end

return { define = define }
