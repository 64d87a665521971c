--- Secrets of a vault that the state knows: what is declared by now may have another name or be of another vault.
local arm, fail, field = require "azure.arm", require "fail", require "field"

local M = {}

--- Where the one of the state is.
-- @return the vault's URI, the secret's name, the vault's id
function M.place(ctx)
  local vault, name = ctx.prior.id:match "^(.*)/secrets/([^/]+)$"
  local declared = ctx.fields and ctx.fields.vault
  if declared and declared.uri and declared.id:lower() == vault:lower() then return declared.uri, name, vault end
  return ("https://%s.%s"):format(vault:match "[^/]+$", arm.open(ctx.target).cloud.vault_suffix), name, vault
end

--- A secret that a change of something else needs: gone since the plan looked is an error.
function M.present(secret, id)
  if not secret then error(fail { ("%s is not in its vault any more"):format(id), hint = "plan again: it is made anew then" }, 0) end
  return secret
end

--- The output that tells values apart without showing them.
M.updated = field.integer { doc = "When the vault was last given its value, in seconds since 1970." }

--- What the state has of secrets whose values nobody needs, or nil where they have to be read: one list of the vault shows which of its
-- secrets are still as they were (Get Secrets: identifiers and attributes, no values).
function M.unchanged(ctx, client, uri, ...)
  local known = ctx.prior and ctx.prior.outputs
  if ctx.secrets or not (known and known.updated) then return nil end
  local base, latest = (uri:gsub("/$", ""):lower() .. "/secrets/"), nil
  local _, listed = client:gathered(base, base .. ..., function() return client:secrets(uri) end)
  for _, name in ipairs { ... } do
    local secret = listed[base .. name:lower()]
    if not secret or secret.attributes.enabled == false then return nil end
    latest = math.max(latest or 0, secret.attributes.updated)
  end
  return latest == known.updated and known or nil
end

--- A `read` that looks at what the state knows, for a `read` that looks at what is declared: else a new name would be taken for a secret
-- that somebody deleted, and the old one would stay.
function M.reading(id_of, look)
  local function read(ctx)
    -- What we made and is not found is looked for again before it counts as gone: nobody would delete it then.
    return look(ctx) or (ctx.prior and look(ctx)) or nil
  end
  return function(ctx)
    local prior = ctx.prior
    local declared = prior and prior.id and prior.fields and id_of(ctx.fields)
    if not declared or declared:lower() == prior.id:lower() then return read(ctx) end
    local fields = {}
    for name, value in pairs(prior.fields) do fields[name] = value end
    local uri, _, vault = M.place(ctx)
    fields.vault = { id = vault, uri = uri }
    local seen = read(setmetatable({ fields = fields }, { __index = ctx }))
    if seen then seen.outputs.id = prior.id end
    return seen
  end
end

return M
