--- Maintenance of a Node's machine, as a resource: a word, and another word has it done (upkeep.lua). Control planes come one after
-- the other, by edges of the recipe; workers take turns.
local away, connect = require "kubeadm.away", require "kubernetes.connect"
local survey, turn, upkeep = require "kubeadm.survey", require "kubeadm.turn", require "kubeadm.upkeep"
local field, json, kind = require "field", require "json", require "kind"

local function read(ctx)
  local f, prior = ctx.fields, ctx.prior
  if not prior then return nil end -- what comes with its machine has the packages of the machine's image
  local now, api = survey.shared(ctx, f.cluster)
  if ctx.dry then turn.reset(api) end
  local node, was = now.nodes[f.name:lower()], prior.fields.packages
  if not node then return { fields = prior.fields, outputs = {}, changes = json.array {} } end -- kubernetes.node tells
  local marked = away.mark_of(node.object, survey.MAINTENANCE) ~= nil
  local due, waiting, restart = upkeep.ask(ctx, f.packages ~= was and f.packages or nil)
  local changes = json.array {} -- a word that is taken back is no change
  if marked then
    changes[1] = { path = "packages", old = "under way", new = f.packages or was or "back" }
  elseif due then
    changes[1] = { path = "packages", old = (was and was .. "; " or "") .. waiting, new = f.packages }
  end
  if changes[1] and (restart and f.reboot == "needed" or f.reboot == "always") then
    changes[#changes + 1] = { path = "restart", old = restart or "not needed", new = "done" }
  end
  return { fields = f, outputs = {}, changes = changes, status = marked and "under way" or nil,
    note = restart and ("node %s wants a restart: %s"):format(f.name, restart) or nil }
end

return kind "kubeadm.maintenance" {
  needs_all = true,
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
  read = read,
  update = function(ctx)
    upkeep.bring(ctx, connect.client(ctx, ctx.fields.cluster))
    return {}
  end,
  create = function() return {} end,
  delete = function() end, -- it goes with its machine
}
