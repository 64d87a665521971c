--- Waits for an object of somebody else to reach a condition; changes nothing.
local client, connect = require "kubernetes.client", require "kubernetes.connect"
local field, kind, objects = require "field", require "kind", require "kubernetes.objects"

local function target(f)
  return { apiVersion = f.api_version, kind = f.object_kind, metadata = { name = f.object_name, namespace = f.namespace } }
end

local function met(f, object)
  if not object then return false end
  if f.condition then return client.condition(object, f.condition) == f.status end
  return objects.ready(object)
end

local function wait(ctx)
  local f = ctx.fields
  local api = connect.client(ctx, f.cluster)
  local what = f.condition and ("to be %s=%s"):format(f.condition, f.status) or "to be ready"
  local _, object = api:wait(target(f), function(now)
    if not f.condition then objects.check(now) end
    return met(f, now)
  end, f.seconds, what)
  return { outputs = { object = objects.id(object) } }
end

return kind "kubernetes.wait" {
  needs_all = true,
  doc = "Waits until an object has a condition, or is rolled out.", writes = false,
  fields = {
    cluster = field.resource { "kubeadm.init", "kubernetes.cluster", required = true },
    api_version = field.string { required = true }, object_kind = field.string { required = true },
    object_name = field.string { required = true }, namespace = field.string {},
    condition = field.string { doc = "Such as Available; without one, the object's rollout." },
    status = field.string { default = "True" },
    seconds = field.number { default = 300, min = 1, ignore = true },
  },
  outputs = { object = field.string {} },
  identity = function(f)
    local cluster = connect.identity(f.cluster)
    return cluster and f.object_name and ("%s/wait/%s/%s/%s"):format(cluster, f.object_kind, f.namespace or "", f.object_name) or nil
  end,
  read = function(ctx)
    local f = ctx.fields
    local api = connect.client(ctx, f.cluster)
    local object = api:get(f.api_version, f.object_kind, f.namespace or "default", f.object_name)
    if not met(f, object) then return nil end
    return { fields = f, outputs = { object = objects.id(object) } }
  end,
  create = wait, update = wait,
  delete = function() end,
}
