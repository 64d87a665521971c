--- The size of a control plane's machine. Another one takes the machine away for a while: its pods are moved first, etcd keeps
-- its majority, and it is back before this ends. In a recipe each comes `after` the one before.
local arm, client, connect = require "azure.arm", require "kubernetes.client", require "kubernetes.connect"
local drain, quorum, survey = require "kubernetes.drain", require "kubeadm.quorum", require "kubeadm.survey"
local fail, field, json, kind = require "fail", require "field", require "json", require "kind"

local API = "2025-04-01"
local MARK = "vmrun/resize" -- on a Node that is away for this: the boot of before; whoever finds it goes on
local BACK = 600

local function handle(name) return { apiVersion = "v1", kind = "Node", metadata = { name = name } } end

local function mark_of(node) return node and (node.metadata.annotations or {})[MARK] end

local function is_ready(object) return object ~= nil and client.condition(object, "Ready") == "True" end

-- Where the only member is, there is no majority to keep.
local function check_quorum(api, name)
  local members = quorum.members(survey.take(api))
  if next(members, next(members)) == nil then return end
  local why, hint = quorum.objection(members, { [name] = "stopped" })
  if why then error(fail { why, code = "quorum", hint = hint }) end
end

-- Cordoned by somebody else it stays so.
local function cordon(api, node, name)
  if mark_of(node) then return mark_of(node) end
  check_quorum(api, name)
  local mark = node.status.nodeInfo.bootID .. (node.spec.unschedulable and " cordoned" or "")
  api:merge(handle(name), { metadata = { annotations = { [MARK] = mark } }, spec = { unschedulable = true } })
  return mark
end

local function resize(ctx, azure, id, size)
  ctx:progress("deallocating " .. id:match("[^/]+$"))
  azure:post(id, "deallocate", API, nil, { ctx = ctx })
  azure:patch(id, API, { properties = { hardwareProfile = { vmSize = size } } }, { ctx = ctx })
end

local function wait_until_back(ctx, api, name, was)
  ctx:progress("waiting for the Node to be ready")
  api:wait(handle(name), function(now)
    return is_ready(now) and now.status.nodeInfo.bootID ~= was
  end, BACK, "to be ready after its restart")
  local pod = { apiVersion = "v1", kind = "Pod", metadata = { name = "etcd-" .. name, namespace = "kube-system" } }
  if api:get("v1", "Pod", "kube-system", pod.metadata.name) then api:wait(pod, is_ready, BACK) end
end

local function bring(ctx)
  local f = ctx.fields
  local azure, name = arm.open(ctx.target), f.name:lower()
  local vm = azure:get(f.machine.id, API)
  local same = vm.properties.hardwareProfile.vmSize:lower() == f.size:lower()
  if same and ctx.verb == "create" then return {} end
  local api = connect.client(ctx, f.cluster)
  local node = api:get("v1", "Node", nil, name)
  local mark = node and cordon(api, node, name)
  if node then drain(ctx, api, name) end
  if not same then resize(ctx, azure, f.machine.id, f.size) end
  azure:post(f.machine.id, "start", API, nil, { ctx = ctx })
  if not node then return {} end
  local boot, cordoned = mark:match("^(%S+) ?(.*)$")
  wait_until_back(ctx, api, name, not same and boot or nil)
  api:merge(handle(name), { metadata = { annotations = { [MARK] = json.null } },
    spec = cordoned == "" and { unschedulable = json.null } or nil })
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
    if not next(ctx.unknown or {}) and mark_of(connect.client(ctx, f.cluster):get("v1", "Node", nil, f.name:lower())) then
      shown.size = shown.size .. " (under way)"
    end
    return { fields = shown, outputs = {}, status = shown.size ~= size and shown.size ~= f.size and "under way" or nil }
  end,
  create = bring, update = bring,
  delete = function() end, -- it goes with its machine
}
