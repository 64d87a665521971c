--- Maintenance of a Node's machine: the packages of its system are upgraded, and it is restarted if that is needed, with its pods
-- moved away first. What is held (kubeadm, kubelet, containerd) stays at its version. Control planes come one after the other, by
-- edges of the recipe; workers take turns.
local away, connect = require "kubeadm.away", require "kubernetes.connect"
local etcd, survey, turn = require "kubeadm.etcd", require "kubeadm.survey", require "kubeadm.turn"
local field, json, kind, role = require "field", require "json", require "kind", require "role"

local PROGRAM = { name = "kubeadm.maintenance", seconds = 5400 }
local WAITING = { name = "kubeadm.maintenance", seconds = 100 } -- the question of a plan

local function upgrade(host, f, word) host.package_upgrade "packages" { once = word, security = f.security, timeout = 3600 } end

-- What a host says for a plan: is there something to do for `word`, if that is given; how many packages wait then; why it
-- wants a restart.
local function ask(ctx, word)
  local changes = role.perform(WAITING, ctx, "check", function(host)
    if word then upgrade(host, ctx.fields, word) end
    host.reboot "restart" {}
  end)
  local due, waiting, restart = false, nil, nil
  for _, change in ipairs(changes) do
    if change.path:find("^reboot ") then restart = change.old else due = true end
    if change.path:find("%.waiting$") then waiting = change.old end
  end
  return due, waiting or "it is not known how many wait", restart
end

local function read(ctx)
  local f, prior = ctx.fields, ctx.prior
  if not prior then return nil end -- what comes with its machine has the packages of the machine's image
  if next(ctx.unknown or {}) then return { fields = prior.fields, outputs = prior.outputs } end
  local now, api = survey.shared(ctx, f.cluster)
  if ctx.dry then turn.reset(api) end
  local node, was = now.nodes[f.name:lower()], prior.fields.packages
  if not node then return nil end
  local marked = away.mark_of(node.object, survey.MAINTENANCE) ~= nil
  local due, waiting, restart = ask(ctx, f.packages ~= was and f.packages or nil)
  local changes = json.array {} -- a word that is taken back is no change
  if marked then
    changes[1] = { path = "packages", old = "under way", new = f.packages or was or "back" }
  elseif due then
    changes[1] = { path = "packages", old = (was and was .. "; " or "") .. waiting, new = f.packages }
  end
  if restart and changes[1] and f.reboot ~= "never" then changes[#changes + 1] = { path = "restart", old = restart, new = "done" } end
  return { fields = f, outputs = {}, changes = changes, status = marked and "under way" or nil,
    note = restart and ("node %s wants a restart: %s"):format(f.name, restart) or nil }
end

-- What is done on the host of a Node that takes no pods. Returns the id of its boot.
local function tend(ctx)
  local f, boot = ctx.fields, nil
  role.perform(PROGRAM, ctx, "apply", function(host)
    if f.packages then upgrade(host, f, f.packages) end
    if f.reboot == "always" and f.packages then
      host.reboot "restart" { once = f.packages }
    elseif f.reboot ~= "never" then
      host.reboot "restart" {}
    end
    boot = host.ask "cat /proc/sys/kernel/random/boot_id"
    if f.control_plane then host.command "etcd is healthy" { timeout = 400, run = etcd.healthy(380) } end
  end)
  return boot
end

local function bring(ctx)
  local f, api = ctx.fields, connect.client(ctx, ctx.fields.cluster)
  local name = f.name:lower()
  local function go()
    away.run(ctx, api, name, survey.MAINTENANCE, function()
      local boot = tend(ctx)
      return function(id) return id == boot end
    end)
  end
  local node = survey.take(api).nodes[name]
  if f.control_plane or not node then go() else
    turn.run(ctx, api, name, "maintenance", node.under_way, f.max_unavailable, go)
  end
  return {}
end

return kind "kubeadm.maintenance" {
  doc = "The system of a Node's machine: its packages upgraded (held ones apart) and the machine restarted, drained and one after the other.",
  fields = {
    name = field.string { required = true, replace = true, doc = "The Node's name." },
    host = field.resource { "ssh.host", required = true, replace = true, doc = "Its machine." },
    cluster = field.resource { required = true, ignore = true, doc = "The cluster that it belongs to.", table.unpack(connect.KINDS) },
    packages = field.string { match = "^%S[^\n]*$",
      doc = "A word, such as 2026-11: another one upgrades what has newer packages by then. What comes new has those of its image, and takes the word as it is." },
    security = field.boolean { default = false, ignore = true, doc = "Upgrade only what the security archive has." },
    reboot = field.choice { "needed", "always", "never", default = "needed", ignore = true,
      doc = "Restart when a package asks for it or a newer kernel is installed than runs; after each upgrade; or leave that to others." },
    control_plane = field.boolean { default = false, ignore = true, doc = "It is a control plane: these do not take turns by `max_unavailable`." },
    max_unavailable = field.string { default = "1", match = "^[1-9]%d*%%?$", ignore = true,
      doc = "How many workers may be away at once: a number, or a share such as 25%." },
  },
  outputs = {}, timeouts = { read = 120, create = 60, update = 86400 },
  identity = function(f)
    local cluster = connect.identity(f.cluster)
    return cluster and f.name and ("%s/maintenance/%s"):format(cluster, f.name) or nil
  end,
  read = read, update = bring,
  create = function() return {} end,
  delete = function() end, -- it goes with its machine
}
