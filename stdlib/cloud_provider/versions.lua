--- Which versions of cloud-provider-azure and of the CSI driver for Azure disks go with a release of Kubernetes, and the images
-- that they are. The one place to change for a new release.
local release = require "kubernetes.release"

local M = {}

local REGISTRY = "mcr.microsoft.com/"

-- Its minor releases are Kubernetes' own, but for the oldest (its Helm chart's and README's tables).
local PROVIDER = { [20] = "v0.7.6", [21] = "v1.0.23", [22] = "v1.1.27", [23] = "v1.23.30", [24] = "v1.24.22", [25] = "v1.25.24",
  [26] = "v1.26.22", [27] = "v1.27.21", [28] = "v1.28.14", [29] = "v1.29.15", [30] = "v1.30.15", [31] = "v1.31.12",
  [32] = "v1.32.17", [33] = "v1.33.12", [34] = "v1.34.9", [35] = "v1.35.4", [36] = "v1.36.0" }
local OLDEST, NEWEST = 20, 36
local SECOND_REPOSITORY = 32 -- from here on images are in oss/v2

-- The driver goes with many releases, the programs beside it with fewer: from a minor release on. `attributes`: the cluster has
-- VolumeAttributesClass; `port`: the probe knows its port by number alone.
local DISK = {
  { 34, driver = "v1.34.5", provisioner = "v6.3.0", attacher = "v4.12.0", resizer = "v2.2.0", probe = "v2.19.0", registrar = "v2.17.0",
    repository = "oss/v2/kubernetes-csi/", attributes = true },
  { 21, driver = "v1.30.12", provisioner = "v5.2.0", attacher = "v4.8.0", resizer = "v1.13.1", probe = "v2.15.0", registrar = "v2.13.0",
    repository = "oss/kubernetes-csi/" },
  { 20, driver = "v1.18.0", provisioner = "v3.1.0", attacher = "v3.4.0", resizer = "v1.4.0", probe = "v2.6.0", registrar = "v2.5.0",
    repository = "oss/kubernetes-csi/", port = true },
}
local IMAGES = { driver = "azuredisk-csi", provisioner = "csi-provisioner", attacher = "csi-attacher", resizer = "csi-resizer",
  probe = "livenessprobe", registrar = "csi-node-driver-registrar" }

--- Why nothing is known for a release: a text; nil where something is.
function M.objection(version)
  local minor = release.minor(version)
  if minor >= OLDEST and minor <= NEWEST then return nil end
  return ("no version of cloud-provider-azure is known for Kubernetes %s; known are those for 1.%d to 1.%d"):format(version, OLDEST,
    NEWEST)
end

--- { controller =, node = }: the images of cloud-provider-azure; nil for a release of which none is known.
function M.provider(version)
  local minor = release.minor(version)
  local tag = PROVIDER[minor]
  if not tag then return nil end
  local at = REGISTRY .. (minor >= SECOND_REPOSITORY and "oss/v2/kubernetes/" or "oss/kubernetes/")
  return { controller = at .. "azure-cloud-controller-manager:" .. tag, node = at .. "azure-cloud-node-manager:" .. tag }
end

--- The images of the driver and of the programs beside it, by what they are, with `attributes` and `port`; nil for a release that
-- is older than all of them. Newer releases take the newest, as its own table says.
function M.disk(version)
  local minor = release.minor(version)
  for _, row in ipairs(DISK) do
    if minor >= row[1] then
      local images = { attributes = row.attributes, port = row.port }
      for part, name in pairs(IMAGES) do images[part] = ("%s%s%s:%s"):format(REGISTRY, row.repository, name, row[part]) end
      return images
    end
  end
end

return M
