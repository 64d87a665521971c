--- A cluster that somebody else keeps, by its kubeconfig.
local client, fail, field, kind = require "kubernetes.client", require "fail", require "field", require "kind"

local function find(ctx)
  local parts = client.parts_of(ctx.fields.kubeconfig, ctx.fields.context)
  local version = client.new(parts):request("GET", "/version", nil, { patience = 15 })
  if not version then error(fail { "the API server gave no version", code = "unreachable" }) end
  return { fields = ctx.fields, outputs = { version = version.gitVersion, server = parts.server } }
end

return kind "kubernetes.cluster" {
  doc = "An existing cluster.", data = true,
  fields = {
    name = field.string { default_name = true },
    kubeconfig = field.secret { required = true, doc = "The text of a kubeconfig, with its certificates inside." },
    context = field.string { doc = "The context; the current one unless given." },
  },
  outputs = { version = field.string {}, server = field.string {} },
  identity = function(f) return f.name end,
  read = find, create = find, update = find,
  delete = function() end,
}
