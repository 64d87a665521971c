--- Names that all customers of Azure share: whether one is free (`checkNameAvailability`).
local json = require "json"
local world = require "emulator.world"
local records, problem = require "emulator.arm.records", require "emulator.arm.problem"
local preflight = require "emulator.arm.preflight"

local TYPES = {
  ["microsoft.storage"] = { type = "Microsoft.Storage/storageAccounts", match = "^[%l%d]+$", shortest = 3, longest = 24,
    taken = "The storage account named %s is already taken.", bad = "%s is not a valid storage account name. Storage account name must "
      .. "be between 3 and 24 characters in length and use numbers and lower-case letters only." },
  ["microsoft.keyvault"] = { type = "Microsoft.KeyVault/vaults", match = "^%a[%w-]*%w$", shortest = 3, longest = 24,
    taken = "The vault name '%s' is already in use.",
    bad = "The vault name '%s' is invalid. A vault's name must be between 3-24 alphanumeric characters." },
  ["microsoft.containerregistry"] = { type = "Microsoft.ContainerRegistry/registries", match = "^%w+$", shortest = 5, longest = 50,
    taken = "The registry %s is already in use.",
    bad = "The specified registry name '%s' is invalid: it is of 5 to 50 alphanumeric characters." },
}

local function is_taken(spec, name)
  for record in records.each(spec.type) do
    if record.name:lower() == name:lower() then return true end
  end
  return spec.type:find "KeyVault" and world.vaults.deleted(name) ~= nil
end

for namespace, spec in pairs(TYPES) do
  preflight.answers["POST " .. namespace .. "/checknameavailability"] = function(_, ctx)
    local ok, body = pcall(json.decode, ctx.req.body or "")
    local name = ok and type(body) == "table" and body.name
    if type(name) ~= "string" then problem.raise(400, "InvalidRequestContent", "The request content has no name.") end
    local free = { nameAvailable = true }
    if not name:find(spec.match) or #name < spec.shortest or #name > spec.longest then
      free = { nameAvailable = false, reason = "AccountNameInvalid", message = spec.bad:format(name) }
    elseif is_taken(spec, name) then
      free = { nameAvailable = false, reason = "AlreadyExists", message = spec.taken:format(name) }
    end
    return { status = 200, json = free }
  end
end

return {}
