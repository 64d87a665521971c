--- The CSI driver for Azure disks: a controller that makes, attaches and grows them, a part on each Node that mounts them, and a class
-- that is taken where a claim names none (https://github.com/kubernetes-sigs/azuredisk-csi-driver).
local field, json = require "field", require "json"
local part, set, versions = require "cloud_provider.part", require "kubernetes.set", require "cloud_provider.versions"

local DRIVER = "disk.csi.azure.com"
local CONTROLLER, NODE = "csi-azuredisk-controller", "csi-azuredisk-node"
local SOCKET, KUBELET = "/csi/csi.sock", "/var/lib/kubelet"
local CONTROLLER_PORT, NODE_PORT = 29602, 29603
local CONTROLLER_METRICS, NODE_METRICS = 29604, 29605

local mount = { name = "socket", mountPath = "/csi" }

-- A program beside the driver, which speaks to it over its socket.
local function beside(name, image, ...)
  return { name = name, image = image, args = json.array { "--csi-address=" .. SOCKET, "--v=2", ... },
    resources = part.requests("10m", "20Mi"), securityContext = part.CONFINED, volumeMounts = json.array { mount } }
end

local function leading(name, image, ...)
  return beside(name, image, "--leader-election", "--leader-election-namespace=" .. part.NAMESPACE, ...)
end

local function probe(images, port)
  return beside("liveness-probe", images.probe, "--probe-timeout=10s",
    images.port and ("--health-port=%d"):format(port) or ("--http-endpoint=127.0.0.1:%d"):format(port))
end

local function driver(image, port, metrics, ...)
  return { name = "azuredisk", image = image, resources = part.requests("10m", "20Mi"),
    args = json.array { "--v=2", "--endpoint=unix://" .. SOCKET, ("--metrics-address=127.0.0.1:%d"):format(metrics),
      "--cloud-config-secret-name=" .. part.SECRET, "--cloud-config-secret-namespace=" .. part.NAMESPACE,
      "--allow-empty-cloud-config=false", ... },
    livenessProbe = { httpGet = { host = "127.0.0.1", path = "/healthz", port = port }, failureThreshold = 5, initialDelaySeconds = 30,
      timeoutSeconds = 30, periodSeconds = 30 } }
end

local function controller(f, images)
  local gates = images.attributes and ",VolumeAttributesClass=true" or ""
  local main = driver(images.driver, CONTROLLER_PORT, CONTROLLER_METRICS, "--disable-avset-nodes=false")
  main.securityContext, main.volumeMounts = part.CONFINED, json.array { mount }
  local resizer = leading("csi-resizer", images.resizer, "--timeout=240s", "--handle-volume-inuse-error=false")
  if images.attributes then table.insert(resizer.args, "--feature-gates=VolumeAttributesClass=true") end
  return part.on_control_planes(CONTROLLER, f.replicas, nil, {
    containers = json.array {
      leading("csi-provisioner", images.provisioner, "--timeout=30s", "--extra-create-metadata=true", "--strict-topology=true",
        "--feature-gates=Topology=true" .. gates),
      leading("csi-attacher", images.attacher, "--timeout=1200s"),
      resizer, probe(images, CONTROLLER_PORT), main,
    },
    volumes = json.array { { name = "socket", emptyDir = {} } },
  })
end

local function node(images)
  local plugin = KUBELET .. "/plugins/" .. DRIVER
  local registrar = beside("node-driver-registrar", images.registrar, ("--kubelet-registration-path=%s/csi.sock"):format(plugin))
  table.insert(registrar.volumeMounts, { name = "registration", mountPath = "/registration" })
  local main = driver(images.driver, NODE_PORT, NODE_METRICS, "--nodeid=$(NODE_NAME)", "--enable-perf-optimization=true")
  main.env = json.array { part.field_env("NODE_NAME", "spec.nodeName") }
  main.securityContext = { privileged = true }
  main.volumeMounts = json.array { mount, { name = "kubelet", mountPath = KUBELET, mountPropagation = "Bidirectional" },
    { name = "dev", mountPath = "/dev" }, { name = "sys", mountPath = "/sys" } }
  return part.on_nodes(NODE, {
    containers = json.array { probe(images, NODE_PORT), registrar, main },
    volumes = json.array { part.host_path("socket", plugin, "DirectoryOrCreate"),
      part.host_path("kubelet", KUBELET, "DirectoryOrCreate"),
      part.host_path("registration", KUBELET .. "/plugins_registry", "DirectoryOrCreate"), part.host_path("dev", "/dev", "Directory"),
      part.host_path("sys", "/sys", "Directory") }, -- whatever buses the machine's disks are on
  })
end

local rule = part.rule
local STORAGE = { "storage.k8s.io" }

local function accounts()
  local config = rule({ "" }, { "secrets" }, { "get" }, { part.SECRET })
  local list = part.account(CONTROLLER, {
    rule({ "" }, { "persistentvolumes" }, { "get", "list", "watch", "create", "update", "patch", "delete" }),
    rule({ "" }, { "persistentvolumeclaims" }, { "get", "list", "watch", "update" }),
    rule({ "" }, { "persistentvolumeclaims/status" }, { "update", "patch" }),
    rule({ "" }, { "pods", "nodes" }, { "get", "list", "watch" }),
    rule({ "" }, { "events" }, { "get", "list", "watch", "create", "update", "patch" }),
    rule(STORAGE, { "storageclasses", "csinodes", "volumeattributesclasses" }, { "get", "list", "watch" }),
    rule(STORAGE, { "volumeattachments" }, { "get", "list", "watch", "update", "patch" }),
    rule(STORAGE, { "volumeattachments/status" }, { "patch" }),
  }, { part.LEADER, config })
  local more = part.account(NODE, {
    rule({ "" }, { "nodes" }, { "get" }),
    rule(STORAGE, { "csinodes" }, { "get" }),
    rule(STORAGE, { "volumeattachments" }, { "get", "list", "watch" }),
  }, { config })
  return table.move(more, 1, #more, #list + 1, list)
end

local function class(f)
  return { apiVersion = "storage.k8s.io/v1", kind = "StorageClass", provisioner = DRIVER,
    metadata = { name = f.class, labels = part.labels(CONTROLLER),
      annotations = { ["storageclass.kubernetes.io/is-default-class"] = tostring(f.default) } },
    parameters = { skuName = f.disks, diskEncryptionSetID = f.encryption_set and f.encryption_set.id or nil },
    reclaimPolicy = "Delete", volumeBindingMode = "WaitForFirstConsumer", allowVolumeExpansion = true }
end

return set.define "cloud_provider.azure_disk" {
  doc = "The CSI driver for Azure disks, with a class of volumes.",
  fields = {
    provider = field.resource { "cloud_provider.azure", required = true, doc = "The cluster's cloud provider: its azure.json and identity." },
    replicas = field.integer { default = 1, min = 1, doc = "Controllers, each on a control plane of its own; one of them leads." },
    class = field.string { default = "managed-csi", doc = "The name of the class." },
    default = field.boolean { default = true, doc = "Claims that name no class are of this one." },
    disks = field.choice { "StandardSSD_LRS", "Premium_LRS", "Standard_LRS", "StandardSSD_ZRS", "Premium_ZRS",
      default = "StandardSSD_LRS", doc = "What disks are made; Kubernetes changes no class that exists." },
    encryption_set = field.resource { "azure.disk_encryption_set", "azure.existing", doc = "Whose key encrypts the disks." },
  },
  check = function(f, problem)
    local version = f.provider ~= nil and f.provider.version
    if type(version) == "string" and not versions.disk(version) then problem("provider", "has the 'provider' of a release that no version of the driver is known for: " .. version) end
  end,
  objects = function(ctx)
    local f = ctx.fields
    local images = versions.disk(f.provider.version)
    local list = accounts()
    list[#list + 1] = { apiVersion = "storage.k8s.io/v1", kind = "CSIDriver",
      metadata = { name = DRIVER, labels = part.labels(CONTROLLER) },
      spec = { attachRequired = true, podInfoOnMount = false, fsGroupPolicy = "File" } }
    list[#list + 1] = class(f)
    list[#list + 1] = controller(f, images)
    list[#list + 1] = node(images)
    return list
  end,
}
