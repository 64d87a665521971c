--- source-controller's part: a GitRepository becomes an artifact, the files of one commit.
local crypto = require "crypto"
local git = require "git"
local value = require "emulator.kubernetes.value"
local hosts = require "emulator.kubernetes.hosts"
local state = require "emulator.kubernetes.flux_status"

local source = {}

local KEY, MANAGER = "source.toolkit.fluxcd.io/gitrepositories", "source-controller"
local FLOOR = 5       -- seconds between two looks at a repository, however fast the clock

local function decoded(secret, name)
  local text = secret and secret.data and secret.data[name]
  return text and crypto.unbase64(text)
end

-- How to get at the repository; or nil, reason and message.
local function access(flux, o)
  local spec = o.spec
  local out = { url = spec.url, timeout = math.max(20, math.min(60, value.duration(spec.timeout) or 60)) }
  local ssh = spec.url:match("^ssh://")
  local secret
  if spec.secretRef then
    secret = flux.cluster.store:get("/secrets", o.metadata.namespace, spec.secretRef.name)
    if not secret then
      return nil, "AuthenticationFailed", ("failed to get secret '%s/%s': secrets \"%s\" not found")
        :format(o.metadata.namespace, spec.secretRef.name, spec.secretRef.name)
    end
  end
  if ssh then
    out.key, out.passphrase = decoded(secret, "identity"), decoded(secret, "password")
    local known = decoded(secret, "known_hosts")
    if not out.key then return nil, "AuthenticationFailed", "failed to configure authentication options: invalid 'ssh' auth option: 'identity' is required" end
    if not known then return nil, "AuthenticationFailed", "failed to configure authentication options: invalid 'ssh' auth option: 'known_hosts' is required" end
    out.known_hosts = {}
    for line in known:gmatch("[^\r\n]+") do out.known_hosts[#out.known_hosts + 1] = line end
  elseif secret then
    out.username, out.password = decoded(secret, "username"), decoded(secret, "password")
    local bearer = decoded(secret, "bearerToken")
    if bearer then out.username, out.password = "git", bearer end
    out.ca = decoded(secret, "ca.crt") or decoded(secret, "caFile")
  end
  return out
end

-- The machine that the controller's pod is on.
local function machine_of(flux)
  for _, pod in ipairs(flux.cluster.store:list "/pods") do
    if value.get(pod, "metadata", "labels", "app") == MANAGER and value.get(pod, "status", "phase") == "Running" then
      local kubelet = flux.cluster.kubelets[pod.spec.nodeName]
      if kubelet then return kubelet.machine end
    end
  end
end

local function private(host)
  local second = tonumber(host:match("^172%.(%d+)%.%d+%.%d+$"))
  return host:match("^10%.%d+%.%d+%.%d+$") or host:match("^192%.168%.%d+%.%d+$") or second and second >= 16 and second < 32
end

-- The way to the repository from where the controller runs: true, or nil and why.
local function way(flux, options)
  local scheme, host, port = options.url:match("^(%a+)://[^/]-@?([%w.-]+):?(%d*)/")
  local machine = host and machine_of(flux)
  if not machine then return true end
  if private(host) then
    local where, why = hosts.dial(flux.world, machine, host, tonumber(port) or scheme == "ssh" and 22 or scheme == "http" and 80 or 443)
    if not where then return nil, why end
    options.connect_to = ("%s:%d"):format(where.host, where.port)
  elseif flux.world.fabric.egress then
    local out, why = flux.world.fabric.egress(machine.id)
    if not out then return nil, ("dial tcp: i/o timeout (%s)"):format(why) end
  end
  return true
end

local function reference(o)
  local ref = o.spec.ref or {}
  if ref.commit then return ref.branch or "", ref.commit end
  if ref.name then return ref.name, ref.name end
  if ref.tag then return ref.tag, "refs/tags/" .. ref.tag end
  return ref.branch or "master", nil
end

local function failed(flux, o, reason, message)
  state.write(flux, KEY, o, MANAGER, function(new)
    new.status.observedGeneration = new.metadata.generation
    state.condition(new, "FetchFailed", "True", reason, message)
    state.condition(new, "Reconciling", "True", "ProgressingWithRetry", message)
    state.condition(new, "Ready", "False", reason, message)
  end)
  flux.cluster:event(o, "Warning", reason, message, MANAGER)
  return math.min(10, flux:interval(o.spec.interval, FLOOR))
end

-- The digest of a tree: its paths and contents in order.
local function digest(files)
  local parts = {}
  for _, path in ipairs(value.keys(files)) do parts[#parts + 1] = ("%s\0%d\0%s"):format(path, #files[path], files[path]) end
  return "sha256:" .. crypto.sha256(table.concat(parts))
end

local function stored(flux, o, revision, files, size)
  local m = o.metadata
  local had = flux.artifacts[m.namespace .. "/" .. m.name]
  local commit = revision:match("sha1:(%x+)$")
  local path = ("gitrepository/%s/%s/%s.tar.gz"):format(m.namespace, m.name, commit)
  flux.artifacts[m.namespace .. "/" .. m.name] = { revision = revision, files = files, uid = m.uid }
  local message = ("stored artifact for revision '%s'"):format(revision)
  local before = value.get(o, "status", "artifact", "revision")
  state.write(flux, KEY, o, MANAGER, function(new)
    local s = new.status
    s.observedGeneration = new.metadata.generation
    if value.get(s, "artifact", "revision") ~= revision then
      s.artifact = { revision = revision, path = path, digest = digest(files), size = size, lastUpdateTime = value.time(),
        url = ("http://source-controller.%s.svc.cluster.local./%s"):format(m.namespace, path) }
    end
    state.clear(new, "FetchFailed")
    state.clear(new, "Stalled")
    state.clear(new, "Reconciling")
    state.condition(new, "Ready", "True", "Succeeded", message)
    state.condition(new, "ArtifactInStorage", "True", "Succeeded", message)
  end)
  if before ~= revision then flux.cluster:event(o, "Normal", "NewArtifact", message, MANAGER)
  elseif not had then flux:artifact_changed(o) end      -- fetched again after a restart
end

-- An artifact that is in memory and still of the branch's head needs no clone.
local function unchanged(flux, o, options, branch, commit)
  local have = flux.artifacts[o.metadata.namespace .. "/" .. o.metadata.name]
  if not have or have.uid ~= o.metadata.uid then return nil end
  if commit and not commit:match("^%x+$") then return nil end
  local head = commit
  if not head then
    local why, code
    options.branch = branch
    head, why, code = git.head(options)
    if not head then return nil, why, code end
  end
  return have.revision:match("sha1:(%x+)$") == head and have or nil
end

local function given(options, more)
  local out = value.shallow(options)
  for k, v in pairs(more) do out[k] = v end
  return out
end

--- Brings one GitRepository up to date; returns the seconds until the next look.
function source.reconcile(flux, o)
  if o.metadata.deletionTimestamp then
    flux.artifacts[o.metadata.namespace .. "/" .. o.metadata.name] = nil
    state.release(flux, KEY, o, MANAGER)
    return nil
  end
  state.hold(flux, KEY, o, MANAGER)
  if type(value.get(o, "spec", "url")) ~= "string" then return state.stalled(flux, KEY, o, MANAGER, "spec.url is required") end
  if o.spec.suspend then return nil end
  local options, reason, message = access(flux, o)
  if not options then return failed(flux, o, reason, message) end
  if value.get(o, "spec", "ref", "semver") then
    return failed(flux, o, "GitOperationFailed", "failed to checkout and determine revision: spec.ref.semver is not followed by the emulator")
  end
  local reached, blocked = way(flux, options)
  if not reached then
    return failed(flux, o, "GitOperationFailed", ("failed to checkout and determine revision: unable to clone '%s': %s"):format(o.spec.url, blocked))
  end
  local branch, commit = reference(o)
  local again = flux:interval(o.spec.interval, FLOOR)
  local have = unchanged(flux, o, given(options, {}), branch, commit)
  if have then
    stored(flux, o, have.revision, have.files)
    return again
  end
  local answer, why
  if commit and commit:match("^refs/") or commit and commit:match("^%x+$") then
    answer, why = source.checkout(given(options, { ref = commit }))
  else
    answer, why = git.read(given(options, { branch = branch, prefix = "" }))
  end
  if not answer then
    return failed(flux, o, "GitOperationFailed", ("failed to checkout and determine revision: unable to clone '%s': %s"):format(o.spec.url, why))
  end
  local size = 0
  for _, text in pairs(answer.files) do size = size + #text end
  local label = branch ~= "" and branch .. "@sha1:" or "sha1:"
  stored(flux, o, label .. answer.commit, answer.files, size)
  return again
end

local function read_tree(root, folder, files)
  local fs = require "fs"
  for _, name in ipairs(fs.list(root .. folder) or {}) do
    local path = folder == "" and "/" .. name or folder .. "/" .. name
    local stat = fs.stat(root .. path)
    if stat.type == "directory" and name ~= ".git" then read_tree(root, path, files)
    elseif stat.type == "file" then files[path:sub(2)] = fs.read(root .. path) end
  end
  return files
end

--- Reads the tree of a tag or commit, which has no branch.
function source.checkout(options)
  local fs = require "fs"
  local dir = fs.mktemp "vmrun-flux-"
  local guard <close> = setmetatable({}, { __close = function() fs.remove(dir, { recursive = true }) end })
  local answer, why = git.checkout(given(options, { dir = dir .. "/tree" }))
  if not answer then return nil, why end
  return { commit = answer.commit, files = read_tree(dir .. "/tree", "", {}) }
end

return source
