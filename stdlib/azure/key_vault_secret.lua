--- A secret of a key vault. Its value is compared by digest and never stored.
local arm, field = require "azure.arm", require "field"
local kind, kept = require "kind", require "azure.kept_secret"

local PATIENCE = 600

local function id_of(f) return f.vault and f.vault.id and f.name and (f.vault.id .. "/secrets/" .. f.name) end

local function write(ctx)
  local client, f = arm.open(ctx.target), ctx.fields
  local gone = client:vault("GET", f.vault.uri, "/deletedsecrets/" .. f.name, nil, { ok = { [404] = true }, patience = PATIENCE })
  if gone.status == 200 then
    client:vault("POST", f.vault.uri, "/deletedsecrets/" .. f.name .. "/recover", nil, {})
  end
  local answer = client:vault("PUT", f.vault.uri, "/secrets/" .. f.name,
    { value = f.value, contentType = f.content_type, tags = f.tags }, { patience = PATIENCE })
  return { outputs = { id = id_of(f), secret_id = answer.json.id } }
end

return kind "azure.key_vault_secret" {
  doc = "A secret of a key vault.", provider = "azure",
  fields = {
    name = field.string { required = true, replace = true, default_name = true, match = "^[%w-]+$" },
    vault = field.resource { "azure.key_vault", required = true, replace = true, doc = "The vault." },
    value = field.secret { required = true, doc = "The value." },
    content_type = field.string {}, tags = field.map { field.string {} },
  },
  outputs = { id = field.string {}, secret_id = field.string { doc = "The id with its version." } },
  identity = id_of,
  predict = function(f) return { id = id_of(f) } end,
  read = kept.reading(id_of, function(ctx)
    local client, f = arm.open(ctx.target), ctx.fields
    local secret = client:secret(ctx, f.vault.uri, f.name)
    if not secret then return nil end
    return { fields = { name = f.name, vault = f.vault, value = secret.value, content_type = secret.contentType,
      tags = secret.tags }, outputs = { id = id_of(f), secret_id = secret.id } }
  end),
  create = write, update = write,
  delete = function(ctx)
    local client = arm.open(ctx.target)
    local uri, name = kept.place(ctx)
    client:vault("DELETE", uri, "/secrets/" .. name, nil, { ok = { [404] = true } })
  end,
}
