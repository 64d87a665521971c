--- Static pods of a control plane's host, which the kubelet keeps running.

local M = {}

--- Shell text: a function `restart PART` that ends the container of a static pod, if it runs, and waits until the kubelet has
-- started another, which reads its files anew.
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
