--- The static pods of a control plane, waited for.
local client = require "kubernetes.client"

local M = {}

local PARTS = { "kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd" }

--- Waits for each until it is Ready and, if given, is_right(part, pod). what: the words for it.
function M.wait(ctx, api, name, seconds, what, is_right)
  for _, part in ipairs(PARTS) do
    ctx:progress(("waiting for %s of %s"):format(part, name))
    local handle = { apiVersion = "v1", kind = "Pod", metadata = { namespace = "kube-system", name = part .. "-" .. name } }
    api:wait(handle, function(pod)
      return pod ~= nil and client.condition(pod, "Ready") == "True" and (not is_right or is_right(part, pod))
    end, seconds, what)
  end
end

return M
