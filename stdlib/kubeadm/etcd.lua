--- etcd on a control plane's host, by the etcdctl of its own container.
local shell = require "host.shell"

local M = {}

local FOLDER, KEPT = "/var/backups/etcd", 5

--- Shell text: a function `etcdctl`. The client certificate is the health check's, which each control plane has.
M.CTL = [[etcdctl() { # ARGS...
  _id=$(crictl ps -q --name '^etcd$' | head -n 1)
  [ -n "$_id" ] || { echo 'no etcd runs on this host' >&2; return 1; }
  _pki=/etc/kubernetes/pki/etcd
  crictl exec "$_id" etcdctl --endpoints=https://127.0.0.1:2379 --cacert=$_pki/ca.crt --cert=$_pki/healthcheck-client.crt \
    --key=$_pki/healthcheck-client.key "$@" </dev/null
}
]]

--- Shell text that ends well as soon as all members of etcd are healthy, and fails with what it last said. (etcd tells nobody
-- when that is so.)
function M.healthy(seconds)
  return M.CTL .. ([[end=$(($(date +%%s) + %d))
until said=$(etcdctl endpoint health --cluster 2>&1); do
  [ "$(date +%%s)" -lt $end ] || { printf '%%s\n' "$said" >&2; exit 1; }
  sleep 1
done]]):format(seconds)
end

--- Shell text that takes the member with a name, or with the peer address of a machine, out of etcd, if there is one.
function M.remove(name, address)
  return M.CTL .. ([[set -e; list=$(etcdctl member list)
printf '%%s\n' "$list" | while IFS= read -r line; do
  case "$line" in *', '%s', '* | *', https://'%s':2380, '*) etcdctl member remove "${line%%%%,*}" ;; esac
done]]):format(shell.quote(name), shell.quote(address))
end

--- Declares a snapshot of etcd on the host's disk, from before an upgrade. What is there already is not taken again: it is from
-- before. The newest few are kept. Of the disk etcd's container sees its data folder only.
function M.snapshot(host, cluster, from, to)
  local path = ("%s/%s-%s-before-%s.db"):format(FOLDER, cluster:gsub("[^%w.-]", "_"), from, to)
  host.directory (FOLDER) { mode = "0700" }
  host.command "etcd snapshot" { creates = path, timeout = 400, run = M.CTL .. ([[set -e; umask 077
data=$(sed -n 's/^ *- --data-dir=//p' /etc/kubernetes/manifests/etcd.yaml); data=${data:-/var/lib/etcd}
trap 'rm -f "$data/vmrun-snapshot.db" "$data/vmrun-snapshot.db.part"' EXIT
etcdctl snapshot save "$data/vmrun-snapshot.db"
mv -f "$data/vmrun-snapshot.db" %s.new && sync %s.new && mv -f %s.new %s
ls -1t %s/*.db | tail -n +%d | while IFS= read -r old; do rm -f -- "$old"; done]]):format(shell.quote(path), shell.quote(path),
    shell.quote(path), shell.quote(path), FOLDER, KEPT + 1) }
end

return M
