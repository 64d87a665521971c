--- What every control plane's host must have before kubeadm makes it one: the audit policy, the encryption configuration.
local crypto, encryption_keys = require "crypto", require "kubeadm.encryption_keys"
local field, json, yaml = require "field", require "json", require "yaml"

local M = {}

--- Is there while an API server is not known to run with the encryption.yaml that its host has: see kubeadm.encryption.
M.LOADING = "/var/lib/vmrun/encryption.loading"

--- Fields that kubeadm.init and a joining control plane share.
function M.inputs()
  return {
    encryption_key = field.secret { ignore = true,
      doc = "32 bytes in base64: Secrets are encrypted with it in etcd. To another one kubeadm.encryption rotates." },
    encryption_name = field.string { default = "key1", match = "^[%w._-]+$", ignore = true, doc = "What etcd calls that key." },
    audit = field.boolean { default = true, doc = "Keep an audit log of the API." },
    renew = field.boolean { default = true, doc = "Renew the control plane's certificates when they end within 30 days." },
  }
end

-- Who did what, without bodies: secrets and tokens must not reach a log. Reads by the system's own parts are noise.
local function audit_policy()
  return { apiVersion = "audit.k8s.io/v1", kind = "Policy", omitStages = json.array { "RequestReceived" },
    rules = json.array {
      { level = "None", users = json.array { "system:kube-proxy", "system:apiserver", "system:kube-scheduler",
        "system:kube-controller-manager" }, verbs = json.array { "get", "list", "watch" } },
      { level = "None", userGroups = json.array { "system:nodes" }, verbs = json.array { "get", "list", "watch" } },
      { level = "None", nonResourceURLs = json.array { "/healthz*", "/livez*", "/readyz*", "/version" } },
      { level = "Metadata" },
    } }
end

-- What a file says that is there is a matter of kubeadm.encryption alone: an API server that is started with a key less cannot
-- read what the others write. One of an earlier membership is of no more use.
local function encryption(host, text, what)
  local file, is_so = encryption_keys.FILE, "[ -e %s ] && [ -e %s ] || [ \"$(sha256sum 2>/dev/null <%s)\" = '%s  -' ]"
  host.command (file) { input = text, unless = is_so:format(M.done(what), file, file, crypto.sha256(text)),
    run = ("umask 077; [ -e %s ] || rm -f %s; cat >%s.new && mv -f %s.new %s"):format(M.done(what), M.LOADING, file, file, file) }
end

--- Declares the files on a host. what: "init" or "join". text: the encryption.yaml that the other control planes have.
function M.tasks(host, f, what, text)
  host.directory "/etc/kubernetes" {}
  if f.audit then
    host.file "/etc/kubernetes/audit-policy.yaml" { content = yaml.encode(audit_policy()), mode = "0600" }
    host.directory "/var/log/kubernetes" { mode = "0700" }
  end
  if f.encryption_key then
    encryption(host, text or encryption_keys.encode { { name = f.encryption_name, secret = f.encryption_key } }, what)
  end
end

-- A kubeadm whose connection was lost may still be at work; who comes after it waits for its end. (Its own processes hold the lock.)
local LOCK = "d=/var/lib/vmrun; mkdir -p $d; exec 9>$d/kubeadm.lock; flock -w 800 9; "

--- Shell text that runs a kubeadm command which cannot be repeated as it is. A run that died in the middle has left its mark,
-- and is reset before it starts again; what somebody else made is never reset.
function M.once(what, command)
  return ([[set -e; %s[ ! -e $d/%s.done ] || exit 0
if [ -e $d/%s.begun ]; then kubeadm reset -f </dev/null; fi
: > $d/%s.begun
%s
mv -f $d/%s.begun $d/%s.done]]):format(LOCK, what, what, what, command, what, what)
end

--- A question for a host: did a run die within the command? If so, what it left on the host is taken away.
function M.interrupted(what)
  return ("set -e; %s[ -e $d/%s.begun ] && [ ! -e $d/%s.done ] || exit 0; kubeadm reset -f </dev/null >&2; echo yes"):format(LOCK, what, what)
end

--- Declares the way back: `kubeadm reset`, which also takes a control plane's member out of etcd while the others still have a
-- majority.
function M.reset(host, what)
  host.command "kubeadm reset" { run = ("kubeadm reset -f && rm -f %s"):format(M.done(what)), timeout = 300,
    unless = ("[ ! -e %s ]"):format(M.done(what)) }
end

function M.done(what) return "/var/lib/vmrun/" .. what .. ".done" end

return M
