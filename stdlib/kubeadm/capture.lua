--- What a backup of a cluster is made of, fetched from a control plane: a snapshot of etcd, the keys and authorities that kubeadm
-- makes everything else of, the encryption configuration. One program on the host says all of it in a stream.
local connection = require "host.connection"
local crypto, fail, json = require "crypto", require "fail", require "json"
local etcd, shell = require "kubeadm.etcd", require "host.shell"

local M = {}

local QUIET = 600 -- seconds in which the host must say something: a snapshot of 8 GB and its digest take that on a slow disk

--- What is taken of /etc/kubernetes/pki; all of it must be there.
M.PKI = { "ca.crt", "ca.key", "front-proxy-ca.crt", "front-proxy-ca.key", "etcd/ca.crt", "etcd/ca.key", "sa.key", "sa.pub" }

local function program()
  local lines = { etcd.CTL, "set -eu; umask 077; mkdir -p /var/lib/vmrun",
    "exec 9>/var/lib/vmrun/backup.lock; flock -w 60 9 || { echo 'another backup is being taken on this host' >&2; exit 1; }",
    [[data=$(sed -n 's/^ *- --data-dir=//p' /etc/kubernetes/manifests/etcd.yaml); data=${data:-/var/lib/etcd}
db=$data/vmrun-backup.db; rm -f "$db" "$db.part"
trap 'rm -f "$db" "$db.part"' EXIT; trap 'exit 1' HUP INT TERM PIPE
say() { # NAME FILE
  [ -f "$2" ] || { echo "$2 is missing on this host" >&2; exit 1; }
  printf 'file %s ' "$1"; base64 -w 0 "$2"; echo
}]] }
  for _, name in ipairs(M.PKI) do lines[#lines + 1] = ("say pki/%s /etc/kubernetes/pki/%s"):format(name, name) end
  lines[#lines + 1] = [[[ ! -f /etc/kubernetes/encryption.yaml ] || say encryption.yaml /etc/kubernetes/encryption.yaml
etcdctl snapshot save "$db" >&2
status=$(etcdutl snapshot status "$db" -w json)
printf 'status %s\n' "$status"
size=$(stat -c %s "$db") sum=$(sha256sum "$db")
exec 3<"$db"; rm -f "$db" # goes with us, whatever happens
printf 'snapshot %s %s\n' "$size" "${sum%% *}"
exec cat <&3]]
  return table.concat(lines, "\n") .. "\n"
end

-- A channel as lines, then as bytes.
local Stream = {}
Stream.__index = Stream

function Stream:more()
  while true do
    local stream, data, code = self.channel:next(QUIET)
    if not stream then
      if code then error(fail { ("%s: %s"):format(self.host.address, tostring(data)), code = code }) end
      return nil
    end
    if stream == "stdout" then return data end
    self.words = (self.words .. data):sub(-2000)
  end
end

function Stream:line()
  while true do
    local at = self.held:find("\n", 1, true)
    if at then
      local line = self.held:sub(1, at - 1)
      self.held = self.held:sub(at + 1)
      return line
    end
    local data = self:more()
    if not data then self:ended() end
    self.held = self.held .. data
  end
end

function Stream:ended()
  local code, signal = self.channel:wait(30)
  local said = self.words:gsub("%s+$", "")
  error(fail { ("%s: the backup ended early (%s)%s"):format(self.host.address,
    code and "exit code " .. tostring(code) or "signal " .. tostring(signal), said ~= "" and ": " .. said or ""), code = "backup",
    hint = "see what is wrong there, and try again" })
end

local function file(name, content) return { name = name, size = #content, sha256 = crypto.sha256(content), content = content } end

--- Takes a snapshot on a host (a table of ssh.host). Returns a table with files (a list of { name =, size =, sha256 =, content = };
-- the last is the snapshot, without content), status (what etcd says of the snapshot) and read(), which gives the snapshot's
-- bytes piece by piece, then nil. `close` it, or leave it to <close>.
function M.from(target, host)
  local conn = connection.open(target, host)
  local channel = fail.check(conn:open("exec " .. shell.as_root(host, "sh -s")))
  local self = setmetatable({ channel = channel, host = host, held = "", words = "" }, Stream)
  local taken = setmetatable({ files = {} }, { __close = function() channel:close() end })
  local ok, why = pcall(function()
    if not channel:write(program(), 60) then self:ended() end
    channel:eof()
    while true do
      local line = self:line()
      local name, content = line:match("^file (%S+) (%S*)$")
      local size, sum = line:match("^snapshot (%d+) (%x+)$")
      if name then
        taken.files[#taken.files + 1] = file(name, fail.check(crypto.unbase64(content)))
      elseif size then
        taken.files[#taken.files + 1] = { name = "snapshot.db", size = math.tointeger(tonumber(size)), sha256 = sum }
        break
      elseif line:find("^status ") then
        taken.status = json.decode(line:sub(8)) or {}
      end
    end
  end)
  if not ok then
    channel:close()
    error(why, 0)
  end
  local left = taken.files[#taken.files].size
  function taken.read()
    if left == 0 then return nil end
    local data = self.held ~= "" and self.held or self:more() or self:ended()
    self.held = ""
    left = left - #data
    if left < 0 then error(fail { host.address .. ": the snapshot is longer than the host said", code = "backup" }) end
    return data
  end
  return taken
end

return M
