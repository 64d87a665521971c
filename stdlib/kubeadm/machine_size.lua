--- The size of a control plane's machine. Another one takes the machine away for a while: its pods are moved first, etcd keeps
-- its majority, and it is back before this ends. In a recipe each comes `after` the one before.
local arm, connect = require "azure.arm", require "kubernetes.connect"
local away, survey = require "kubeadm.away", require "kubeadm.survey"
local field, kind = require "field", require "kind"

local API = "2025-04-01"

local function resize(ctx, azure, id, size)
  ctx:progress("deallocating " .. id:match("[^/]+$"))
  azure:post(id, "deallocate", API, nil, { ctx = ctx })
  azure:patch(id, API, { properties = { hardwareProfile = { vmSize = size } } }, { ctx = ctx })
end

local function bring(ctx)
  local f = ctx.fields
  local azure, name = arm.open(ctx.target), f.name:lower()
  local vm = azure:get(f.machine.id, API)
  local same = vm.properties.hardwareProfile.vmSize:lower() == f.size:lower()
  if same and ctx.verb == "create" then return {} end
  local function change(boot)
    if not same then resize(ctx, azure, f.machine.id, f.size) end
    azure:post(f.machine.id, "start", API, nil, { ctx = ctx })
    return function(id) return same or id ~= boot end
  end
  local api = connect.client(ctx, f.cluster)
  if api:get("v1", "Node", nil, name) then away.run(ctx, api, name, survey.RESIZE, change) else change() end
  return {}
end

return kind "kubeadm.machine_size" {
  doc = "The size of a control plane's virtual machine (with `size_apart`): changed with its pods moved away and etcd's majority kept.",
  fields = {
    machine = field.resource { "azure.virtual_machine", required = true, replace = true, doc = "The machine." },
    size = field.string { required = true, doc = "The size, such as Standard_D2s_v5." },
    cluster = field.resource { required = true, ignore = true, doc = "The cluster that it belongs to.", table.unpack(connect.KINDS) },
    name = field.string { required = true, ignore = true, doc = "The Node's name." },
  },
  outputs = {}, timeouts = { create = 3600, update = 3600 },
  identity = function(f) return type(f.machine) == "table" and f.machine.id and f.machine.id .. "/size" or nil end,
  read = function(ctx)
    local f = ctx.fields
    local id = type(f.machine) == "table" and f.machine.id
    local vm = id and arm.open(ctx.target):get(id, API)
    if not vm then return nil end
    local size = vm.properties.hardwareProfile.vmSize
    local shown = { size = size:lower() == f.size:lower() and f.size or size }
    if not next(ctx.unknown or {}) and
      away.mark_of(connect.client(ctx, f.cluster):get("v1", "Node", nil, f.name:lower()), survey.RESIZE) then
      shown.size = shown.size .. " (under way)"
    end
    return { fields = shown, outputs = {}, status = shown.size ~= size and shown.size ~= f.size and "under way" or nil }
  end,
  create = bring, update = bring,
  delete = function() end, -- it goes with its machine
}
