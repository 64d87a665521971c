--- A cluster of a backup: what is brought to the first control plane before `kubeadm init`, and what is to be done behind it.
local archive, capture = require "kubeadm.archive", require "kubeadm.capture"
local connect, connection = require "kubernetes.connect", require "host.connection"
local etcd, fail, survey = require "kubeadm.etcd", require "fail", require "kubeadm.survey"
local shell = require "host.shell"

local M = {}

local WRITE = 600 -- seconds in which the host must take the next bytes

--- Where the backup lies on the host while it is needed, for root alone; as long as it is there, a restore has not ended.
M.FOLDER = "/var/lib/vmrun/restore"

local function wanted(name)
  if name == "encryption.yaml" or name == "snapshot.db" then return true end
  for _, file in ipairs(capture.PKI) do if name == "pki/" .. file then return true end end
  return false
end

local function run(host, conn, command, fill)
  local channel <close> = fail.check(conn:open("exec " .. shell.as_root(host, "sh -c " .. shell.quote(command))))
  if fill then fill(channel) end
  channel:eof()
  local words = {}
  while true do
    local stream, data, code = channel:next(WRITE)
    if not stream then
      if code then error(fail { ("%s: %s"):format(host.address, tostring(data)), code = code }) end
      break
    end
    words[#words + 1] = data
  end
  local code = channel:wait(30)
  local said = table.concat(words):gsub("%s+$", "")
  if code ~= 0 then
    error(fail { ("%s: the backup could not be brought to the host: %s"):format(host.address, said), code = "backup" })
  end
  return said
end

local RECEIVE = [[set -e; umask 077; t=%s; mkdir -p "${t%%/*}"; cat >"$t"
[ "$(sha256sum <"$t")" = "%s  -" ] || { echo "$t arrived damaged" >&2; exit 1; }]]

--- Brings the backup to the host; what is there of an attempt before goes. Where that fails nothing stays.
function M.place(ctx, f)
  local host, conn = f.host, connection.open(ctx.target, f.host)
  local reader = archive.open(f.restore.file, f.restore.key)
  local complete = false
  local tidy <close> = setmetatable({}, { __close = function()
    if not complete then pcall(run, host, conn, "rm -rf " .. M.FOLDER) end
  end })
  run(host, conn, ("rm -rf %s && mkdir -p /var/lib/vmrun && mkdir -m 700 %s"):format(M.FOLDER, M.FOLDER))
  reader:each(function(file, pieces)
    if not wanted(file.name) then return end
    ctx:progress(("bringing %s of the backup to the host"):format(file.name))
    run(host, conn, RECEIVE:format(M.FOLDER .. "/" .. file.name, file.sha256), function(channel)
      for piece in pieces do
        if not channel:write(piece, WRITE) then break end -- why is what the host says
      end
    end)
  end)
  run(host, conn, (": >%s/complete"):format(M.FOLDER))
  complete = true
end

--- Shell text for before `kubeadm init`, which then finds its authorities, etcd's data and the key that its Secrets are encrypted
-- with. (To the recipe's key kubeadm.encryption rotates.)
function M.prepare(config, name, address)
  return ([[r=%s; [ -e $r/complete ] || { echo "the backup is not on this host: apply again with restore" >&2; exit 1; }
mkdir -p /etc/kubernetes/pki; cp -R $r/pki/. /etc/kubernetes/pki/; chmod 755 /etc/kubernetes/pki /etc/kubernetes/pki/etcd
chmod 644 /etc/kubernetes/pki/*.crt /etc/kubernetes/pki/*.pub /etc/kubernetes/pki/etcd/*.crt
[ ! -e $r/encryption.yaml ] || cp $r/encryption.yaml /etc/kubernetes/encryption.yaml
kubeadm config images pull --config %s </dev/null
image=$(kubeadm config images list --config %s </dev/null 2>/dev/null | grep '/etcd:' | head -n 1)
[ -n "$image" ] || { echo "kubeadm names no image of etcd" >&2; exit 1; }
]]):format(M.FOLDER, config, config) .. etcd.restore(name, address)
end

--- What the check of `kubeadm init` would stumble over: the data that it shall find.
M.IGNORE = "--ignore-preflight-errors=DirAvailable--var-lib-etcd"

--- Takes the Nodes of control planes that were lost out of the cluster; those that come join anew.
function M.settle(ctx, f, own)
  local api = connect.client(ctx, f)
  ctx:progress "looking for Nodes of control planes that are lost"
  for _, node in ipairs((api:list("v1", "Node"))) do
    if survey.is_control_plane(node) and node.metadata.name ~= own then
      api:delete({ apiVersion = "v1", kind = "Node", metadata = { name = node.metadata.name } }, { wait = 60 })
    end
  end
end

return M
