--- The certificates of a control plane, which live for a year: when they end, and new ones. An upgrade renews them as well; the
-- kubelet's own rotate by themselves.
local crypto, task = require "crypto", require "task"
local etcd, static_pods = require "kubeadm.etcd", require "kubeadm.static_pods"

local M = {}

local DAYS = 30
local MARK = "/var/lib/vmrun/certificates.renewing"

--- Asked beside the checks of a role: the certificates themselves, which are public, by name.
M.ASK = [[cd /etc/kubernetes 2>/dev/null || exit 0
for f in pki/*.crt pki/etcd/*.crt; do
  case $f in */ca.crt | *-ca.crt | *'*'*) continue ;; esac
  echo "# ${f#pki/}"; sed -n '/BEGIN CERT/,/END CERT/p' "$f"
done
for f in admin.conf super-admin.conf controller-manager.conf scheduler.conf; do
  [ ! -r "$f" ] || { echo "# $f"; sed -n 's/^ *client-certificate-data: *//p' "$f"; }
done]]

--- What ends within 30 days: a list of { name, ends (seconds) }, the first to end first. told: what ASK printed.
function M.soon(told, now)
  local list = {}
  for name, text in ((told or "") .. "\n# \n"):gmatch("# ([^\n]+)\n(.-)%f[#]") do
    local pem = text:find("BEGIN", 1, true) and text or crypto.unbase64((text:gsub("%s", "")))
    local read = pem and crypto.x509_read(pem)
    local ends = read and tonumber(read.not_after)
    if ends and ends - now < DAYS * 86400 then list[#list + 1] = { name = name:gsub("%.crt$", ""), ends = ends } end
  end
  table.sort(list, function(a, b)
    if a.ends ~= b.ends then return a.ends < b.ends end
    return a.name < b.name
  end)
  return list
end

local function day(ends) return os.date("!%Y-%m-%d", math.floor(ends)) end

-- "2026-12-09: apiserver, etcd/peer; 2026-12-11: admin.conf"
local function words(list)
  local parts, last = {}, nil
  for _, one in ipairs(list) do
    local when = day(one.ends)
    if when ~= last then parts[#parts + 1] = when .. ": " .. one.name else parts[#parts] = parts[#parts] .. ", " .. one.name end
    last = when
  end
  return table.concat(parts, "; ")
end

--- What a role's read says of them: changes, and a note for whoever plans.
function M.differs(answers, f)
  local soon = M.soon(answers.certificates, task.time())
  if #soon == 0 then return {} end
  local note = ("%d %s of this control plane %s within %d days, %s on %s; %s"):format(#soon, #soon == 1 and "certificate" or
    "certificates", #soon == 1 and "ends" or "end", DAYS, soon[1].name, day(soon[1].ends),
    f.renew and "they are to be renewed" or "with renew = false they stay as they are")
  return f.renew and { { path = "certificates", old = "end " .. words(soon), new = "renewed" } } or {}, note
end

local RENEW = static_pods.RESTART .. ([[set -e; mkdir -p /var/lib/vmrun; : >MARK
kubeadm certs renew all </dev/null
for part in etcd kube-apiserver kube-controller-manager kube-scheduler; do restart $part; done
]]):gsub("MARK", MARK) .. etcd.healthy(180) .. "\nrm -f " .. MARK

--- Declares the renewal; a run that died between new certificates and those who read them is made up for. prior: was the role
-- applied before? (A new control plane has new certificates.)
function M.task(host, f, prior)
  local due = not host.checking and prior and f.renew and #M.soon(host.ask(M.ASK), task.time()) > 0
  host.command "certificates" { timeout = 800, unless = not due and ("[ ! -e %s ]"):format(MARK) or nil,
    run = RENEW }
end

return M
