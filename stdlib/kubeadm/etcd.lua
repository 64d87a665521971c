--- etcd on a control plane's host, by the etcdctl and etcdutl of its own container or image.
local shell = require "host.shell"

local M = {}

local FOLDER, KEPT = "/var/backups/etcd", 5

--- Shell functions `etcdctl` and `etcdutl`. The client certificate is the health check's, which each control plane has. What etcd
-- 3.5 has etcdutl for, etcdctl did before.
M.CTL = [[etcdctl() { # ARGS...; $AT: another member's URL
  _id=$(crictl ps -q --name '^etcd$' | head -n 1)
  [ -n "$_id" ] || { echo 'no etcd runs on this host' >&2; return 1; }
  _pki=/etc/kubernetes/pki/etcd
  crictl exec "$_id" etcdctl --endpoints="${AT:-https://127.0.0.1:2379}" --cacert=$_pki/ca.crt --cert=$_pki/healthcheck-client.crt \
    --key=$_pki/healthcheck-client.key "$@" </dev/null
}
etcdutl() { # ARGS...
  _id=$(crictl ps -q --name '^etcd$' | head -n 1)
  if crictl exec "$_id" etcdutl version </dev/null >/dev/null 2>&1; then crictl exec "$_id" etcdutl "$@" </dev/null; else etcdctl "$@"; fi
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
  return M.CTL .. ([[set -e; patience='--dial-timeout=15s --command-timeout=30s'; list=$(etcdctl $patience member list)
printf '%%s\n' "$list" | while IFS= read -r line; do
  case "$line" in *', '%s', '* | *', https://'%s':2380, '*) etcdctl $patience member remove "${line%%%%,*}" ;; esac
done]]):format(shell.quote(name), shell.quote(address))
end

--- Shell text that has another member of etcd lead if the one with a name does, and prints who does then; nothing where it does not
-- lead.
function M.hand_over(name)
  return M.CTL .. ([[status=$(etcdctl endpoint status -w fields) && list=$(etcdctl member list) || exit
leader=$(printf %%x "$(printf '%%s\n' "$status" | sed -n 's/^"Leader" : //p')") others= AT=
while IFS=', ' read -r id state member _ client learner; do
  if [ "$state" != started ]; then continue
  elif [ "$id" = "$leader" ]; then [ "$member" = %s ] || exit 0; AT=$client
  elif [ "$learner" != true ]; then others="$others $id=$member"; fi
done <<LIST
$list
LIST
[ -n "$AT" ] && [ -n "$others" ] || exit 0
for other in $others; do
  if etcdctl move-leader "${other%%%%=*}" >&2; then echo "${other#*=}"; exit; fi
done
exit 1]]):format(shell.quote(name))
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

--- Shell text that makes etcd's data of the snapshot in $r, by the image in $image: of one member, whose name and address these
-- are. Revisions go on far behind those that were: who watched the cluster that is lost is told to look anew.
function M.restore(name, address)
  return ([[data=/var/lib/etcd; mkdir -p -m 700 $data; rm -rf $data/member $data/vmrun-restored
tool() { # PROGRAM ARGS...
  ctr -n k8s.io run --rm --mount type=bind,src=$r,dst=$r,options=rbind:ro --mount type=bind,src=$data,dst=$data,options=rbind:rw \
    --env ETCDCTL_API=3 "$image" vmrun-restore-$$-$((n = ${n:-0} + 1)) "$@" </dev/null
}
if help=$(tool etcdutl snapshot restore --help 2>&1); then program=etcdutl; else program=etcdctl; fi
case $help in *--bump-revision*) bump='--bump-revision 1000000000 --mark-compacted' ;; *) bump= ;; esac
tool $program snapshot restore $r/snapshot.db --data-dir $data/vmrun-restored --name %s --initial-cluster %s=https://%s:2380 \
  --initial-advertise-peer-urls https://%s:2380 --initial-cluster-token vmrun-restore $bump
mv $data/vmrun-restored/member $data/member && rmdir $data/vmrun-restored
]]):format(name, name, address, address)
end

return M
