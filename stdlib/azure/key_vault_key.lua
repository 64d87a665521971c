--- A key of a key vault. ARM makes its first version and shows it, and does no more: the vault itself changes and deletes.
local arm, field, json, task = require "azure.arm", require "field", require "json", require "task"
local statement = require "azure.statement"

local API, PATIENCE = "2025-05-01", 600

local function id_of(f) return f.vault and f.vault.id and f.name and (f.vault.id .. "/keys/" .. f.name) end

local function attributes(f) return { enabled = f.enabled, nbf = f.not_before, exp = f.expires } end

local function at_vault(client, f, method, path, body, ok)
  return client:vault(method, f.vault.uri, path, body, { ok = ok, patience = PATIENCE })
end

--- Waits until the vault knows the key again, which takes a while after a recover.
local function settle(client, f)
  while true do
    local answer = at_vault(client, f, "GET", "/keys/" .. f.name, nil, { [404] = true })
    if answer.status == 200 then return answer.json end
    task.sleep(client.cloud.kind == "emulator" and 0.05 or 5)
  end
end

local function change(client, f, key)
  local version = key.key.kid:match("/([^/]+)$")
  at_vault(client, f, "PATCH", ("/keys/%s/%s"):format(f.name, version),
    { key_ops = f.operations, attributes = attributes(f), tags = f.tags })
end

--- A deleted key of this name comes back; where it is another key than the one declared, it gets a version that is.
local function recover(client, f)
  at_vault(client, f, "POST", ("/deletedkeys/%s/recover"):format(f.name), {})
  local found = settle(client, f)
  local key = found.key
  local bits = key.n and #key.n * 6 // 8 * 8
  if key.kty == f.type and (not f.curve or key.crv == f.curve) and (not f.size or not bits or bits == f.size) then
    return change(client, f, found)
  end
  at_vault(client, f, "POST", ("/keys/%s/create"):format(f.name), { kty = f.type, key_size = f.size, crv = f.curve,
    key_ops = f.operations, attributes = attributes(f), tags = f.tags })
end

local function result(client, f)
  local body = client:request("GET", client:url(id_of(f), API)).json -- one that is not there is told as ARM tells it
  return { outputs = { id = id_of(f), uri = body.properties.keyUri, uri_with_version = body.properties.keyUriWithVersion } }
end

return statement.define {
  kind = "key_vault_key", doc = "A key of a key vault.", type = "Microsoft.KeyVault/vaults/keys", api = API, parent = "vault",
  located = false, tagged = true, alone = true,
  fields = {
    name = field.string { required = true, replace = true, default_name = true, match = "^[%w-]+$", max = 127,
      doc = "The name in Azure; the resource's own name unless given." },
    vault = field.resource { "azure.key_vault", required = true, replace = true, doc = "The vault." },
    type = field.choice { "RSA", "RSA-HSM", "EC", "EC-HSM", default = "RSA", replace = true, arm = "properties.kty" },
    size = field.choice { 2048, 3072, 4096, replace = true, arm = "properties.keySize", doc = "Bits of an RSA key." },
    curve = field.choice { "P-256", "P-384", "P-521", "P-256K", replace = true, arm = "properties.curveName", doc = "Of an EC key." },
    operations = field.list { field.choice { "encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey", "import", "release" },
      unordered = true, arm = "properties.keyOps", doc = "What the key may be used for; all that its type can, unless given." },
    enabled = field.boolean { default = true, arm = "properties.attributes.enabled" },
    not_before = field.integer { min = 0, arm = "properties.attributes.nbf", doc = "Unix time from which it may be used." },
    expires = field.integer { min = 0, arm = "properties.attributes.exp", doc = "Unix time from which it may not be used." },
  },
  outputs = {
    uri = field.string { arm = "properties.keyUri", doc = "The key's URI, without a version." },
    uri_with_version = field.string { volatile = true, arm = "properties.keyUriWithVersion", doc = "The URI of the newest version." },
  },
  check = function(f, problem)
    local curved = f.type == "EC" or f.type == "EC-HSM"
    if f.size and curved then problem({ "size" }, "'size' is of RSA keys; an EC key has a 'curve'") end
    if f.curve and not curved then problem({ "curve" }, "'curve' is of EC keys; an RSA key has a 'size'") end
  end,
  verbs = {
    create = function(ctx)
      local client, f = arm.open(ctx.target), ctx.fields
      local ok, problem = pcall(client.put, client, id_of(f), API, { tags = f.tags, properties = { kty = f.type, keySize = f.size,
        curveName = f.curve, keyOps = f.operations and json.array(f.operations), attributes = attributes(f) } })
      if not ok then
        if not (type(problem) == "table" and problem.code == "Conflict") then error(problem, 0) end
        ctx:progress("recovering the soft-deleted key")
        recover(client, f)
      end
      return result(client, f)
    end,
    update = function(ctx)
      local client, f = arm.open(ctx.target), ctx.fields
      change(client, f, at_vault(client, f, "GET", "/keys/" .. f.name).json)
      return result(client, f)
    end,
    delete = function(ctx)
      local client, prior = arm.open(ctx.target), ctx.prior
      -- What is declared by now may be another key.
      local f = { name = prior.id:match("[^/]+$"), vault = { uri = prior.outputs.uri:match("^https://[^/]+") } }
      at_vault(client, f, "DELETE", "/keys/" .. f.name, nil, { [404] = true })
      -- The name is free, or ready to be recovered, once the vault shows the key among the deleted.
      for _ = 1, 30 do
        if at_vault(client, f, "GET", "/deletedkeys/" .. f.name, nil, { [404] = true }).status == 200 then return end
        task.sleep(client.cloud.kind == "emulator" and 0.05 or 2)
      end
    end,
  },
}
