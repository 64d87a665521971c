--- Which version of an image a machine is made of. `latest` means another one each day, so it is resolved once: what the first
-- machine was made of stays, until a recipe asks for the newest.
local profile = require "azure.machine_profile"

local API = "2025-04-01"

local M = {}

-- Versions are numbers with dots between them.
local function is_newer(a, b)
  local next_a, next_b = a:gmatch("%d+"), b:gmatch("%d+")
  while true do
    local x, y = next_a(), next_b()
    if x == nil or y == nil then return x ~= nil end
    if tonumber(x) ~= tonumber(y) then return tonumber(x) > tonumber(y) end
  end
end

--- The newest version that Azure lists in a region; nil where it lists none.
function M.newest(client, location, reference)
  local place = ("/subscriptions/%s/providers/Microsoft.Compute/locations/%s"):format(client.subscription, location)
  local list = client:get(("%s/publishers/%s/artifacttypes/vmimage/offers/%s/skus/%s/versions"):format(place, reference.publisher,
    reference.offer, reference.sku), API)
  local best
  for _, item in ipairs(type(list) == "table" and list or {}) do
    if not best or is_newer(item.name, best) then best = item.name end
  end
  return best
end

local function is_same(a, b)
  for _, key in ipairs { "publisher", "offer", "sku" } do
    if tostring(a[key]):lower() ~= tostring(b[key]):lower() then return false end
  end
  return true
end

--- The version of a reference that is there; nil while it is only "latest".
function M.of(reference)
  reference = reference or {}
  return reference.exactVersion or (reference.version ~= "latest" and reference.version or nil)
end

--- The version to make machines of: the one that is declared, else the one that is there (`current`: its reference) or was
-- remembered, else the newest. Nil for an image that has no versions, or none that Azure lists.
function M.resolve(ctx, client, f, location, current)
  local reference = profile.image_reference(f.image)
  if not reference.publisher then return nil end
  if reference.version ~= "latest" then return reference.version end
  if f.image_version and f.image_version ~= "newest" then return f.image_version end
  if f.image_version == "newest" then return M.newest(client, location, reference) end
  if current and is_same(current, reference) and M.of(current) then return M.of(current) end
  local prior = ctx.prior
  local made_of = prior and prior.outputs and prior.outputs.made_of
  local same = prior and prior.fields and prior.fields.image == f.image and (not made_of or made_of:match "^(.*) " == f.image)
  if same and prior.outputs and prior.outputs.exact_version then
    return prior.outputs.exact_version
  end
  -- Who may not list versions makes machines of "latest", and the first of them says what that was.
  local ok, found = pcall(M.newest, client, location, reference)
  if not ok and not (type(found) == "table" and found.code == "AuthorizationFailed") then error(found, 0) end
  return ok and found or nil
end

--- What a recipe's `image_version` is compared with: itself while it holds, else the version that is there.
function M.observed(client, f, location, current)
  local wanted, reference, is = f.image_version, profile.image_reference(f.image), M.of(current)
  if not wanted then return is end
  if not reference.publisher then return wanted end
  if wanted == "newest" then
    local newest = M.newest(client, location, reference)
    return (newest == nil or newest == is) and "newest" or is
  end
  return is
end

return M
