--- The backup of a cluster, as `vmrun backup` wrote it: read from its first byte to its last when a plan is made. What is wrong with
-- it is told where a cluster would be made of it (kubeadm/guard.lua): one that lives needs none.
local archive, fail, field, kind = require "kubeadm.archive", require "fail", require "field", require "kind"
local release = require "kubernetes.release"

local function objection(f, manifest)
  local cluster, version = manifest.cluster or {}, f.version:gsub("^v", "")
  if cluster.endpoint ~= f.endpoint then
    return ("it is of the cluster %s, not of %s"):format(tostring(cluster.endpoint), f.endpoint), "give a backup of this cluster"
  end
  local from = manifest.kubernetes
  if not release.parse(from) then return "it does not say of which release of Kubernetes it is", "take another backup" end
  if release.compare(from, version) > 0 then
    return ("it is of Kubernetes %s, which is newer than version = %s"):format(from, version), "give version = " .. from
  end
  if release.parse(from)[1] ~= release.parse(version)[1] or release.minor(version) - release.minor(from) > 1 then
    return ("it is of Kubernetes %s, more than one minor release older than version = %s"):format(from, version),
      ("restore with version = %s, and upgrade then"):format(from)
  end
end

local function look(f)
  if not f.file then return {} end
  if not f.key then return { problem = "there is no key for it", hint = "give restore_key=@FILE, or set VMRUN_BACKUP_KEY" } end
  local ok, manifest = pcall(archive.verify, f.file, f.key)
  if not ok then
    if not fail.is(manifest) or manifest.code == "cancelled" or manifest.code == "timeout" then error(manifest, 0) end
    return { problem = (manifest.message:gsub("^" .. f.file:gsub("%p", "%%%0") .. ": ", "")), hint = manifest.hint }
  end
  local why, hint = objection(f, manifest)
  return { created = manifest.created, kubernetes = manifest.kubernetes, problem = why, hint = hint }
end

local function read(ctx)
  local f = ctx.fields
  return { fields = f, outputs = look(f),
    note = f.file and ("%s is restored where no control plane of %s is left, and nowhere else; --unset restore"):format(f.file, f.endpoint) or nil }
end

return kind "kubeadm.backup" {
  doc = "A backup of a cluster, which `vmrun backup` wrote: what kubeadm.init restores.", provider = "kubeadm", data = true,
  fields = {
    file = field.string { doc = "Its path on this machine; without it there is nothing to restore." },
    key = field.secret { doc = "The passphrase that it was made with." },
    endpoint = field.string { required = true, doc = "The API's name of the cluster that it must be of." },
    version = field.string { required = true, doc = "The release that the cluster shall have." },
  },
  outputs = {
    created = field.string { doc = "When it was made." }, kubernetes = field.string { doc = "Of which release it is." },
    problem = field.string { doc = "Why it cannot be restored." }, hint = field.string { doc = "And what to do." },
  },
  timeouts = { read = 1800, create = 1800, update = 1800 },
  identity = function(f) return f.endpoint end,
  read = read, create = read, update = read,
  delete = function() end,
}
