--- Random bytes that live in a key vault: made here once, put into the vault, and read from there ever after.
local arm, crypto, field, kind = require "azure.arm", require "crypto", require "field", require "kind"
local kept = require "azure.kept_secret"

local PATIENCE = 600

local function id_of(f) return f.vault and f.vault.id and f.name and (f.vault.id .. "/secrets/" .. f.name) end

local function current(client, f)
  local answer = client:vault("GET", f.vault.uri, "/secrets/" .. f.name, nil, { ok = { [404] = true }, patience = PATIENCE })
  return answer.status == 200 and answer.json or nil
end

local function found(f, secret)
  return { outputs = { id = id_of(f), value = secret.value, updated = secret.attributes.updated } }
end

return kind "azure.vault_random" {
  doc = "Random bytes kept in a key vault, in base64.", provider = "azure",
  fields = {
    name = field.string { required = true, replace = true, default_name = true, match = "^[%w-]+$" },
    vault = field.resource { "azure.key_vault", required = true, replace = true, doc = "The vault that keeps them." },
    bytes = field.integer { default = 32, min = 16, max = 512, replace = true, doc = "How many bytes." },
  },
  outputs = { id = field.string {}, value = field.secret { doc = "The bytes in base64." }, updated = kept.updated },
  identity = id_of,
  predict = function(f) return { id = id_of(f) } end,
  read = kept.reading(id_of, function(ctx)
    local client, f = arm.open(ctx.target), ctx.fields
    local known = kept.unchanged(ctx, client, f.vault.uri, f.name)
    if known then return { fields = { name = f.name, vault = f.vault, bytes = ctx.prior.fields.bytes }, outputs = known } end
    local secret = client:secret(ctx, f.vault.uri, f.name)
    if not secret then return nil end
    local told, bytes = found(f, secret), crypto.unbase64(secret.value)
    told.fields = { name = f.name, vault = f.vault, bytes = bytes and #bytes or 0 }
    return told
  end),
  create = function(ctx)
    local client, f = arm.open(ctx.target), ctx.fields
    -- A run that died after the write left a value that may be in use: it is kept.
    local secret = current(client, f)
    if secret then return found(f, secret) end
    local gone = client:vault("GET", f.vault.uri, "/deletedsecrets/" .. f.name, nil, { ok = { [404] = true }, patience = PATIENCE })
    if gone.status == 200 then client:vault("POST", f.vault.uri, "/deletedsecrets/" .. f.name .. "/recover", nil, {}) end
    local body = { value = crypto.base64(crypto.random(f.bytes)), contentType = "application/octet-stream" }
    return found(f, client:vault("PUT", f.vault.uri, "/secrets/" .. f.name, body, { patience = PATIENCE }).json)
  end,
  update = function(ctx)
    local f = ctx.fields
    return found(f, kept.present(current(arm.open(ctx.target), f), id_of(f)))
  end,
  delete = function(ctx)
    local client = arm.open(ctx.target)
    local uri, name = kept.place(ctx)
    client:vault("DELETE", uri, "/secrets/" .. name, nil, { ok = { [404] = true } })
  end,
}
