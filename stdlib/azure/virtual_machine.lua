--- A virtual machine, alone or attached to a Flexible scale set, so that its identity is known before it exists.
local arm, crypto, fail, field = require "azure.arm", require "crypto", require "fail", require "field"
local json = require "json"
local profile, statement = require "azure.machine_profile", require "azure.statement"
local extension, image_version = require "azure.machine_extension", require "azure.image_version"
local set_machines = require "azure.set_machines"

local API = "2025-04-01"

local ACTIONS = { running = "start", deallocated = "deallocate" }

--- "running", "stopped", "deallocated", or nil when Azure does not say; a machine on its way up counts as running.
-- `seen`: the machine as a list showed it, maybe with its run time status.
local function power_of(client, id, seen)
  local listed = seen and (seen.properties.instanceView and seen or client:gathered("power", id, function()
    return client:list(("/subscriptions/%s/providers/Microsoft.Compute/virtualMachines?statusOnly=true"):format(client.subscription), API)
  end))
  local view = listed and listed.properties.instanceView
  if not view then
    local answer = client:request("GET", client:url(id .. "/instanceView", API), nil, { ok = { [404] = true } })
    view = answer.status == 200 and answer.json or nil
  end
  local power = view and profile.power(view)
  return power == "starting" and "running" or power
end

local fields = profile.fields("properties.")
fields.size.arm = "properties.hardwareProfile.vmSize"
fields.size_apart = field.boolean { default = false, ignore = true,
  doc = "Another size is the business of a resource beside this one; here it counts for a new machine only." }
fields.when_stale = field.choice { "replace", "roll", "keep", default = "replace", ignore = true,
  doc = "What another image, version of it or custom data means to a machine that is there: it is replaced with the rest of the plan; after it, "
    .. "one such machine at a time; or it stays, and every plan names it." }
fields.interface = field.resource { "azure.network_interface", required = true, doc = "Its network interface." }
fields.scale_set = field.resource { "azure.virtual_machine_scale_set", replace = true,
  arm = "properties.virtualMachineScaleSet", doc = "A Flexible scale set to belong to." }
fields.zone = field.string { replace = true, arm = "zones", doc = "An availability zone.",
  to = function(value) return json.array { value } end, from = function(value) return value[1] end }
fields.power = field.choice { "running", "deallocated", default = "running", doc = "Whether it runs; what was stopped is started." }
fields.extensions = extension.field()
fields.hostname = field.string { replace = true, arm = "properties.osProfile.computerName",
  doc = "The host name; the machine's name unless given." }

local DIGEST = "scrypt:(%x+)$"

-- Custom data may hold secrets and the state keeps this of it: it is another for each machine, and guessing is dear.
local function digest_of(body, data)
  if type(data) ~= "string" then return "0" end -- there is none, or it is a secret that is another by now
  return crypto.hex(fail.check(crypto.scrypt(data, body.properties.vmId, { n = 16384, r = 8, p = 1, count = 32 })))
end

-- What a machine was made of: its image, as Azure shows it, and a digest of its custom data, which Azure shows nobody.
local function made_of(ctx, body)
  local prior, data = ctx.prior, ctx.fields.custom_data
  local kept = prior and prior.outputs and prior.outputs.made_of
  if ctx.verb ~= "create" and prior and prior.fields then data = prior.fields.custom_data end
  local digest = ctx.verb ~= "create" and kept and kept:match(DIGEST) or digest_of(body, data)
  return ("%s scrypt:%s"):format(profile.observed(ctx.fields, body.properties, body).image, digest)
end

-- What of these a machine has otherwise is no difference then: it is stale.
local function leave_apart(ctx, shown, body)
  local f, stale = ctx.fields, {}
  for _, name in ipairs { "image", "image_version" } do
    if f[name] ~= nil and shown[name] ~= f[name] then stale[#stale + 1] = name end
    shown[name] = f[name] or shown[name]
  end
  shown.custom_data = f.custom_data
  if ctx.made_of:match(DIGEST) ~= digest_of(body, f.custom_data) then stale[#stale + 1] = "custom_data" end
  if #stale > 0 then ctx.stale, ctx.rolls = table.concat(stale, ", "), f.when_stale == "roll" end
end

return statement.define {
  kind = "virtual_machine", doc = "A virtual machine.", type = "Microsoft.Compute/virtualMachines", api = API,
  match = "^[%w][%w-]*[%w]$", fields = fields,
  outputs = {
    private_ip = field.string { doc = "The private address of its interface." },
    exact_version = field.string { doc = "The version of the image that it was made of." },
    made_of = field.string { doc = "Its image, and a digest of the custom data that it was made with." },
    vm_id = field.string { arm = "properties.vmId", doc = "Azure's own id of this machine; a new machine has a new one." },
  },
  timeouts = { create = 1200, update = 1200, delete = 1200 },
  beside = function(f, client)
    local set = f.scale_set and f.scale_set.id
    return set, set and function() return set_machines.list(client, set) end
  end,
  prepare = function(ctx, client, f, current)
    if current and f.size_apart then f.size = current.properties.hardwareProfile.vmSize end
    if not current then f.version = image_version.resolve(ctx, client, f, f.location) end
  end,
  body = function(f, body, current)
    body.identity = profile.identity(f)
    body.properties = body.properties or {}
    if current then
      -- What the service made of the first body stays; only what may change is sent again.
      body.resources, body.properties.vmId, body.properties.instanceView = nil, nil, nil
      return
    end
    body.properties.osProfile = profile.os_profile(f, "computerName", f.hostname or f.name)
    body.properties.storageProfile = profile.storage_profile(f, f.version)
    body.properties.networkProfile = { networkInterfaces = json.array {
      { id = f.interface.id, properties = { primary = true, deleteOption = "Detach" } } } }
  end,
  observed = function(f, body, ctx)
    local shown = profile.observed(f, body.properties, body)
    if f.size_apart then shown.size = f.size end
    shown.image_version = ctx.image_version
    if f.when_stale ~= "replace" then leave_apart(ctx, shown, body) end
    shown.power = f.power and (ctx.power or f.power)
    shown.extensions = extension.observed(ctx, { body.resources or {} })
    return shown
  end,
  found = function(ctx, client, body, outputs)
    local reference = statement.get(body, "properties.storageProfile.imageReference")
    outputs.exact_version = image_version.of(reference)
    outputs.made_of = made_of(ctx, body)
    ctx.made_of = outputs.made_of
    if ctx.verb == "read" then ctx.image_version = image_version.observed(client, ctx.fields, body.location, reference) end
    outputs.private_ip = ctx.fields.interface and ctx.fields.interface.private_ip
      or (ctx.prior and ctx.prior.outputs.private_ip)
    ctx.power = power_of(client, body.id, ctx.verb == "read" and body)
  end,
  status = function(ctx) return ctx.power ~= "running" and ctx.power or nil end,
  made = function(ctx, client, body)
    local want, now = ctx.fields.power or "running", power_of(client, body.id)
    if now and now ~= want then client:post(body.id, ACTIONS[want], API, nil, { ctx = ctx }) end
    if want == "running" then
      extension.settle(ctx, client, { { id = body.id, location = body.location, extensions = body.resources } })
    end
    return body
  end,
}
