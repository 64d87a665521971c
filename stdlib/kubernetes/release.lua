--- Releases of Kubernetes, such as "1.36.1" or "v1.36.1": which is older, and what follows from one.
local M = {}

--- "v1.36.2" -> { 1, 36, 2 }; nil for what is no version.
function M.parse(text)
  local major, minor, patch = tostring(text or ""):match("^v?(%d+)%.(%d+)%.(%d+)")
  return major and { tonumber(major), tonumber(minor), tonumber(patch) } or nil
end

--- The minor version as a number: 36.
function M.minor(version) return M.parse(version)[2] end

--- -1, 0 or 1 as the first version is older, the same or newer.
function M.compare(a, b)
  local x, y = M.parse(a), M.parse(b)
  for i = 1, 3 do
    if x[i] ~= y[i] then return x[i] < y[i] and -1 or 1 end
  end
  return 0
end

--- The older of two versions; either may be nil.
function M.older(a, b)
  if not (a and b) then return a or b end
  return M.compare(a, b) <= 0 and a or b
end

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
