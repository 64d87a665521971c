--- An SSH key pair that lives in a key vault: made here, put into the vault, and only then used. ARM sees the public half.
local arm, crypto, field, task = require "azure.arm", require "crypto", require "field", require "task"
local kind, kept = require "kind", require "azure.kept_secret"

local PATIENCE = 600

local function id_of(f) return f.vault and f.vault.id and f.name and (f.vault.id .. "/secrets/" .. f.name .. "-private-key") end

local function secret(client, f, half)
  local answer = client:vault("GET", f.vault.uri, ("/secrets/%s-%s-key"):format(f.name, half), nil,
    { ok = { [404] = true }, patience = PATIENCE })
  return answer.status == 200 and answer.json or nil
end

-- Of the secrets of both halves.
local function outputs(f, private, public)
  return { id = id_of(f), private_key = private.value, public_key = public.value,
    updated = math.max(private.attributes.updated, public.attributes.updated) }
end

return kind "azure.ssh_key_pair" {
  doc = "An SSH key pair kept in a key vault.", provider = "azure",
  fields = {
    name = field.string { required = true, replace = true, default_name = true, match = "^[%w-]+$" },
    vault = field.resource { "azure.key_vault", required = true, replace = true, doc = "The vault that keeps it." },
    type = field.choice { "ed25519", "rsa", default = "ed25519", replace = true },
    after_role = field.any { doc = "The role assignment that lets us write to the vault." },
  },
  outputs = {
    id = field.string {}, public_key = field.string { doc = "The public key line." },
    private_key = field.secret { doc = "The private key, OpenSSH's form." }, updated = kept.updated,
  },
  identity = id_of,
  predict = function(f) return { id = id_of(f) } end,
  read = kept.reading(id_of, function(ctx)
    local client, f = arm.open(ctx.target), ctx.fields
    local known = kept.unchanged(ctx, client, f.vault.uri, f.name .. "-private-key", f.name .. "-public-key")
    if known then
      return { fields = { name = f.name, vault = f.vault, type = ctx.prior.fields.type, after_role = f.after_role }, outputs = known }
    end
    local private = client:secret(ctx, f.vault.uri, f.name .. "-private-key")
    local public = private and client:secret(ctx, f.vault.uri, f.name .. "-public-key")
    if not public then return nil end
    local fields = { name = f.name, vault = f.vault, type = public.value:match "^ssh%-(%w+)" or "unknown", after_role = f.after_role }
    return { fields = fields, outputs = outputs(f, private, public) }
  end),
  create = function(ctx)
    local client, f = arm.open(ctx.target), ctx.fields
    -- A run that died between the two secrets left a private half that may be in use: it is kept.
    local started = task.now()
    local private = secret(client, f, "private")
    local pair = private and { private = private.value, public = crypto.public_key(private.value) }
      or crypto.keypair(f.type, { bits = 4096, comment = f.name })
    local set = {}
    for half, value in pairs { private = pair.private, public = pair.public } do
      local path = ("/secrets/%s-%s-key"):format(f.name, half)
      local gone = client:vault("GET", f.vault.uri, "/deleted" .. path:sub(2), nil,
        { ok = { [404] = true }, patience = PATIENCE - (task.now() - started) })
      if gone.status == 200 then client:vault("POST", f.vault.uri, "/deleted" .. path:sub(2) .. "/recover", nil, {}) end
      set[half] = client:vault("PUT", f.vault.uri, path, { value = value, contentType = "application/x-ssh-" .. half .. "-key" },
        { patience = PATIENCE }).json
    end
    return { outputs = outputs(f, set.private, set.public) }
  end,
  update = function(ctx)
    local client, f = arm.open(ctx.target), ctx.fields
    local function half(name) return kept.present(secret(client, f, name), id_of(f)) end
    return { outputs = outputs(f, half "private", half "public") }
  end,
  delete = function(ctx)
    local client = arm.open(ctx.target)
    local uri, private = kept.place(ctx)
    for _, name in ipairs { private, (private:gsub("%-private%-key$", "-public-key")) } do
      client:vault("DELETE", uri, "/secrets/" .. name, nil, { ok = { [404] = true } })
    end
  end,
}
