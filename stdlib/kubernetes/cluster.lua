--- A cluster that somebody else keeps, by its kubeconfig.
local connect, fail, field, kind = require "kubernetes.connect", require "fail", require "field", require "kind"

local function find(ctx)
  local api = connect.client(ctx, ctx.fields)
  local version = api:request("GET", "/version", nil, { patience = 15 })
  if not version then error(fail { "the API server gave no version", code = "unreachable" }) end
  return { fields = ctx.fields, outputs = { version = version.gitVersion, server = api.parts.server } }
end

return kind "kubernetes.cluster" {
  doc = "An existing cluster.", data = true,
  fields = {
    name = field.string { default_name = true },
    kubeconfig = field.secret { required = true,
      doc = "The text of a kubeconfig. Files that it names must have whole paths; an exec plugin is run here." },
    context = field.string { doc = "The context; the current one unless given." },
  },
  outputs = { version = field.string {}, server = field.string {} },
  identity = function(f) return f.name end,
  read = find, create = find, update = find,
  delete = function() end,
}
