--- The static pods of a control plane's host, which the kubelet keeps running: waited for, and started anew.
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

--- Shell text: a function `restart PART` that ends the container of a static pod, if it runs, and waits until the kubelet has started
-- another, which reads its files anew.
M.RESTART = [[restart() { # PART
  old=$(crictl ps -q --name "^$1\$" | head -n 1); [ -n "$old" ] || return 0
  crictl stop --timeout 20 "$old"
  end=$(($(date +%s) + 120))
  until new=$(crictl ps -q --name "^$1\$" | head -n 1); [ -n "$new" ] && [ "$new" != "$old" ]; do
    [ "$(date +%s)" -lt $end ] || { echo "$1 does not start again" >&2; exit 1; }
    sleep 1
  done
}
]]

return M
