--- What follows from a release of Kubernetes, such as "1.36.1".
local M = {}

--- The minor version as a number: 36.
function M.minor(version) return tonumber(version:match("^v?1%.(%d+)")) end

-- The sandbox image that a release names (`kubeadm config images list`), from its minor version on.
local PAUSES = { { 36, "3.10.2" }, { 33, "3.10.1" }, { 31, "3.10" }, { 26, "3.9" }, { 25, "3.8" }, { 24, "3.7" }, { 23, "3.6" },
  { 22, "3.5" }, { 21, "3.4.1" }, { 0, "3.2" } }

--- The sandbox image; the newest release's when none is given.
function M.pause(version)
  local minor = version and M.minor(version) or math.huge
  for _, row in ipairs(PAUSES) do
    if minor >= row[1] then return "registry.k8s.io/pause:" .. row[2] end
  end
end

--- Whether its kubelet speaks to containerd 2: the interface of 1.22 and before went with it.
function M.speaks_to_containerd_2(version) return M.minor(version) >= 23 end

return M
