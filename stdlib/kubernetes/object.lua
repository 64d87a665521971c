--- One object.
local connect, field, set = require "kubernetes.connect", require "field", require "kubernetes.set"

return set.define "kubernetes.object" {
  doc = "One Kubernetes object, by server-side apply.",
  fields = {
    api_version = field.string { required = true, replace = true, doc = "Such as apps/v1." },
    object_kind = field.string { required = true, replace = true, doc = "Such as Deployment." },
    object_name = field.string { required = true, replace = true, default_name = true, doc = "Its name; the resource's own unless given." },
    namespace = field.string { replace = true }, labels = field.map { field.string {} }, annotations = field.map { field.string {} },
    body = field.any { doc = "The rest of it: spec, data, ..." },
  },
  identity = function(f)
    local cluster = connect.identity(f.cluster)
    return cluster and f.object_name and
      ("%s/object/%s/%s/%s/%s"):format(cluster, f.api_version, f.object_kind, f.namespace or "", f.object_name) or nil
  end,
  objects = function(ctx)
    local f = ctx.fields
    local object = { apiVersion = f.api_version, kind = f.object_kind, metadata = { name = f.object_name, namespace = f.namespace,
      labels = f.labels, annotations = f.annotations } }
    for key, value in pairs(f.body or {}) do object[key] = value end
    return { object }
  end,
}
