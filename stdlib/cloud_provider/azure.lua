--- cloud-provider-azure: the controller manager that makes load balancers of Services and knows which machines are gone, the node
-- manager that says on each Node what its machine is, and azure.json, which tells them where they are. They are Azure's principal by
-- a managed identity of the machines, so there is no secret in it
-- (https://kubernetes-sigs.github.io/cloud-provider-azure/install/configs/).
local crypto, fail, field, json = require "crypto", require "fail", require "field", require "json"
local part = require "cloud_provider.part"
local release, set = require "kubernetes.release", require "kubernetes.set"
local survey, versions = require "kubeadm.survey", require "cloud_provider.versions"

local CONTROLLER, NODE = "cloud-controller-manager", "cloud-node-manager"
local FOLDER = "/etc/azure"
local PORT = 10268

-- What it calls the clouds that we know.
local CLOUDS = { AzureCloud = "AzurePublicCloud", AzureUSGovernment = "AzureUSGovernmentCloud", AzureChinaCloud = "AzureChinaCloud" }

local function cloud_of(ctx)
  local target = ctx.target or {}
  local name = target.kind == "azure" and target.cloud or "AzureCloud"
  return CLOUDS[name] or error(fail { ("cloud-provider-azure knows no cloud '%s'"):format(name), code = "cloud",
    hint = "one of AzureCloud, AzureUSGovernment, AzureChinaCloud" })
end

-- The group and the name that an id ends in, or two nils.
local function place(id)
  if not id then return nil end
  return id:match("/[rR]esource[gG]roups/([^/]+)"), id:match("([^/]+)$")
end

local function azure_json(ctx)
  local f = ctx.fields
  local rules_group, rules_name = place(f.security_group and f.security_group.id)
  local network = f.subnet.id:match("^(.*)/subnets/[^/]+$")
  local network_group, network_name = place(network)
  local _, group = place(f.group.id)
  return json.encode({
    cloud = cloud_of(ctx), tenantId = f.identity.tenant_id, subscriptionId = f.group.id:match("^/subscriptions/([^/]+)"),
    resourceGroup = group, location = f.location or f.group.location,
    vnetName = network_name, vnetResourceGroup = network_group, subnetName = f.subnet.id:match("[^/]+$"),
    securityGroupName = rules_name, securityGroupResourceGroup = rules_group,
    vmType = f.machines, enableVmssFlexNodes = f.machines == "vmss" or nil,
    loadBalancerSku = "standard", excludeMasterFromStandardLB = true, disableOutboundSNAT = f.disable_outbound_snat,
    useManagedIdentityExtension = true, userAssignedIdentityID = f.identity.client_id, useInstanceMetadata = true,
    cloudProviderBackoff = true,
  }, { indent = 2, sort = true }) .. "\n"
end

-- The network is flannel's and the ranges are kube-controller-manager's, so it makes neither. What Nodes are is said by the manager
-- beside each of them.
local function controller_arguments(f)
  local list = json.array { "--cloud-provider=azure", "--cloud-config=" .. FOLDER .. "/azure.json", "--cluster-name=" .. f.cluster_name,
    "--controllers=*,-cloud-node", "--allocate-node-cidrs=false", "--configure-cloud-routes=false", "--leader-elect=true",
    "--bind-address=127.0.0.1", ("--secure-port=%d"):format(PORT), "--v=2" }
  -- The oldest would serve its health without TLS besides.
  if release.minor(f.version) < 21 then list[#list + 1] = "--port=0" end
  return list
end

local function controller(f, image, config)
  return part.on_control_planes(CONTROLLER, f.replicas, { ["vmrun/config"] = crypto.sha256(config) }, {
    containers = json.array { {
      name = CONTROLLER, image = image, command = json.array { CONTROLLER }, args = controller_arguments(f),
      resources = part.requests("100m", "128Mi"), securityContext = part.CONFINED,
      livenessProbe = { httpGet = { host = "127.0.0.1", path = "/healthz", port = PORT, scheme = "HTTPS" }, initialDelaySeconds = 20,
        periodSeconds = 10, timeoutSeconds = 5 },
      volumeMounts = json.array { { name = "config", mountPath = FOLDER, readOnly = true } },
    } },
    volumes = json.array { { name = "config", secret = { secretName = part.SECRET,
      items = json.array { { key = part.KEY, path = "azure.json" } } } } },
  })
end

-- What it tells of a machine, the machine's own metadata service says: it needs neither azure.json nor a role.
local function node_manager(image)
  return part.on_nodes(NODE, { containers = json.array { {
    name = NODE, image = image, command = json.array { NODE },
    args = json.array { "--node-name=$(NODE_NAME)", "--use-instance-metadata=true", "--wait-routes=false", "--v=2" },
    env = json.array { part.field_env("NODE_NAME", "spec.nodeName") },
    resources = part.requests("50m", "50Mi"), securityContext = part.CONFINED,
  } } })
end

local rule = part.rule

local function accounts()
  local list = part.account(CONTROLLER, {
    rule({ "" }, { "events" }, { "create", "patch", "update" }),
    rule({ "" }, { "nodes" }, { "get", "list", "watch", "patch", "update", "delete" }),
    rule({ "" }, { "nodes/status" }, { "patch" }),
    rule({ "" }, { "services" }, { "get", "list", "watch", "patch", "update" }),
    rule({ "" }, { "services/status" }, { "patch", "update" }),
    rule({ "" }, { "endpoints" }, { "get", "list", "watch" }),
    rule({ "discovery.k8s.io" }, { "endpointslices" }, { "get", "list", "watch" }),
  }, { part.LEADER }, { "extension-apiserver-authentication-reader" })
  local more = part.account(NODE, {
    rule({ "" }, { "nodes" }, { "get", "list", "watch", "patch", "update" }),
    rule({ "" }, { "nodes/status" }, { "patch" }),
  })
  return table.move(more, 1, #more, #list + 1, list)
end

-- Whether a recipe gives it a cluster of ours whose kubelets wait for nobody: it would have nothing to do.
local function is_not_awaited(cluster)
  local class, of = field.classify(cluster)
  return class == "resource" and of == "kubeadm.init" and not cluster.cloud_provider
end

return set.define "cloud_provider.azure" {
  doc = "Azure's cloud provider in a cluster whose kubelets wait for one (`cloud_provider` of kubeadm.init).",
  -- A new release waits for the control planes to be at it.
  timeouts = { read = 120, create = 600 + survey.UPGRADE, update = 600 + survey.UPGRADE, delete = 300 },
  fields = {
    version = field.string { required = true, match = "^%d+%.%d+%.%d+$", doc = "The cluster's release, such as 1.36.1: it says which images." },
    cluster_name = field.string { default = "kubernetes", match = "^[%w][%w-]*$",
      doc = "The name of the load balancers that it makes; it must not be that of one of ours." },
    group = field.resource { "azure.resource_group", "azure.existing", required = true, doc = "Where the machines are." },
    location = field.string { doc = "Their region; the group's unless given." },
    subnet = field.resource { "azure.subnet", "azure.existing", required = true, doc = "The machines' subnet." },
    security_group = field.resource { "azure.network_security_group", "azure.existing",
      doc = "The security group of the subnet, into which it writes rules for load balancers." },
    machines = field.choice { "vmss", "vmssflex", "standard", default = "vmss", doc = "Scale sets of any kind, Flexible ones only, or none." },
    identity = field.resource { "azure.user_assigned_identity", required = true,
      doc = "Who it is to Azure: an identity that the control planes have, with roles for what it does." },
    disable_outbound_snat = field.boolean { default = false,
      doc = "Its load balancers are no way out: the subnet has another, such as a NAT gateway." },
    replicas = field.integer { default = 1, min = 1, doc = "Controller managers, each on a control plane of its own; one of them leads." },
    controller_image = field.string { doc = "Instead of the image that goes with the release." },
    node_image = field.string { doc = "The same for the node manager." },
  },
  check = function(f, problem)
    if type(f.cluster_name) == "string" and f.cluster_name:find("%-internal$") then
      problem("cluster_name", "'cluster_name' ends in -internal, which it adds itself for load balancers inside of the network")
    end
    if is_not_awaited(f.cluster) then
      problem("cluster", "has a 'cluster' whose kubelets wait for no cloud provider: give its kubeadm.init cloud_provider = true")
    end
    local known = type(f.version) ~= "string" or not versions.objection(f.version)
    if known or (f.controller_image and f.node_image) then return end
    problem("version", ("has the 'version' %s: %s; or give 'controller_image' and 'node_image'"):format(f.version,
      versions.objection(f.version)))
  end,
  before = function(ctx, api) survey.wait_for(ctx, api, ctx.fields.version) end,
  objects = function(ctx)
    local f = ctx.fields
    local images, config = versions.provider(f.version) or {}, azure_json(ctx)
    local list = accounts()
    list[#list + 1] = { apiVersion = "v1", kind = "Secret", metadata = part.meta(CONTROLLER, part.SECRET), type = "Opaque",
      data = { [part.KEY] = crypto.base64(config) } }
    list[#list + 1] = controller(f, f.controller_image or images.controller, config)
    list[#list + 1] = node_manager(f.node_image or images.node)
    return list
  end,
}
