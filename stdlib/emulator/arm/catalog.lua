--- Microsoft.Compute: what a region has for machines: images by publisher, offer and sku, handlers of extensions. An image that is
-- not in the catalog can be had by its name all the same.
local json = require "json"
local admin = require "emulator.admin"
local machine, value = require "emulator.arm.machine", require "emulator.arm.value"
local problem, preflight = require "emulator.arm.problem", require "emulator.arm.preflight"

local IMAGES = {
  Canonical = { ["0001-com-ubuntu-server-jammy"] = { "22_04-lts", "22_04-lts-arm64", "22_04-lts-gen2" },
    ["ubuntu-24_04-lts"] = { "server", "server-arm64", "server-gen1" } },
  Debian = { ["debian-11"] = { "11", "11-gen2" }, ["debian-12"] = { "12", "12-arm64", "12-gen2" } },
  MicrosoftWindowsServer = { WindowsServer = { "2019-Datacenter", "2022-datacenter-azure-edition" } },
}

local HANDLERS = {
  ["Microsoft.Azure.Extensions"] = { CustomScript = { "2.0.7", "2.1.10" } },
  ["Microsoft.Azure.Monitor"] = { AzureMonitorLinuxAgent = { "1.33.4", "1.35.1" } },
  ["Microsoft.ManagedServices"] = { ApplicationHealthLinux = { "1.0.12", "2.0.10" } },
}

-- In the case in which the service writes the path, whoever asked.
local CASE = { providers = "Providers", locations = "Locations", publishers = "Publishers", artifacttypes = "ArtifactTypes",
  offers = "Offers", skus = "Skus", versions = "Versions", subscriptions = "Subscriptions", vmimage = "VMImage",
  vmextension = "VMExtension", types = "Types" }

local function path_of(ctx, name)
  local path = ctx.path:gsub("[^/]+", function(step) return CASE[step:lower()] end)
  return name and path .. "/" .. name or path
end

local function find(map, name)
  for key, item in pairs(map) do
    if key:lower() == name:lower() then return item end
  end
  return {}
end

--- An answer that lists names; `ctx` has the path that they are below.
local function listed(names, id, ctx)
  local items = json.array {}
  for i, name in ipairs(names) do items[i] = { location = id.names[1]:lower(), name = name, id = path_of(ctx, name) } end
  return { status = 200, json = items }
end

-- What the publisher has: offers of images, or types of handlers.
local function published(id) return find(id.names[3]:lower() == "vmimage" and IMAGES or HANDLERS, id.names[2]) end

local answers = preflight.answers
local BELOW = "GET microsoft.compute/locations/publishers"
answers[BELOW] = function(id, ctx)
  local names = {}
  for _, map in ipairs { IMAGES, HANDLERS } do
    for name in pairs(map) do names[#names + 1] = name end
  end
  table.sort(names)
  return listed(names, id, ctx)
end
answers[BELOW .. "/artifacttypes/offers"] = function(id, ctx) return listed(value.keys(published(id)), id, ctx) end
answers[BELOW .. "/artifacttypes/types"] = answers[BELOW .. "/artifacttypes/offers"]
answers[BELOW .. "/artifacttypes/offers/skus"] = function(id, ctx) return listed(find(published(id), id.names[4]), id, ctx) end
answers[BELOW .. "/artifacttypes/types/versions"] = answers[BELOW .. "/artifacttypes/offers/skus"]

local function reference_of(id) return { publisher = id.names[2], offer = id.names[4], sku = id.names[5] } end

answers[BELOW .. "/artifacttypes/offers/skus/versions"] = function(id, ctx)
  local versions, chosen = machine.versions(reference_of(id)), {}
  local newest_first = (ctx.query["$orderby"] or ""):lower():find "^name%s+desc"
  for i = 1, math.min(#versions, tonumber(ctx.query["$top"]) or #versions) do
    chosen[i] = versions[newest_first and #versions + 1 - i or i]
  end
  local answer = listed(chosen, id, ctx)
  for _, item in ipairs(ctx.query["$expand"] == "properties" and answer.json or {}) do
    item.properties = machine.image_properties(reference_of(id))
  end
  return answer
end

answers[BELOW .. "/artifacttypes/offers/skus/versions/*"] = function(id, ctx)
  for _, version in ipairs(machine.versions(reference_of(id))) do
    if version == id.name then
      return { status = 200, json = { location = id.names[1]:lower(), name = version, id = path_of(ctx),
        properties = machine.image_properties(reference_of(id)) } }
    end
  end
  problem.raise(404, "NotFound", "Artifact: VMImage was not found.")
end

--- A newer version of an image: `image`, PUBLISHER:OFFER:SKU:VERSION.
admin.route("POST /emulator/images", function(req)
  local publisher, offer, sku, version = (req.query.image or ""):match("^([^:]+):([^:]+):([^:]+):([%d.]+)$")
  if not version then
    return { status = 400, json = { error = { code = "BadRequest", message = "wants image=PUBLISHER:OFFER:SKU:VERSION" } } }
  end
  machine.publish { publisher = publisher, offer = offer, sku = sku, version = version }
  return { status = 200, json = { image = req.query.image } }
end)

return {}
