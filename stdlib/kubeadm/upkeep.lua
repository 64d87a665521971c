--- Looks after a Node's machine: upgrades the packages of its system and restarts it, with its pods moved away first. What is held
-- (kubeadm, kubelet, containerd) stays at its version. Each step can be repeated, and a run that died is gone on with (away.lua).
local away, etcd = require "kubeadm.away", require "kubeadm.etcd"
local survey, turn = require "kubeadm.survey", require "kubeadm.turn"
local role = require "role"

local M = {}

local PROGRAM = { name = "kubeadm.maintenance", seconds = 5400 }
local WAITING = { name = "kubeadm.maintenance", seconds = 100 } -- the question of a plan

local function upgrade(host, f, word) host.package_upgrade "packages" { once = word, security = f.security, timeout = 3600 } end

--- What a host says for a plan: is there something to do for `word`, if that is given; how many packages wait then; why it
-- wants a restart.
function M.ask(ctx, word)
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

-- What is done on the host of a Node that takes no pods. Returns the id of its boot.
local function tend(ctx)
  local f, boot = ctx.fields, nil
  role.perform(PROGRAM, ctx, "apply", function(host)
    if f.packages then upgrade(host, f, f.packages) end
    local once = f.restart or f.reboot == "always" and f.packages
    if once then
      host.reboot "restart" { once = once, timeout = 1200 }
    elseif f.reboot ~= "never" then
      host.reboot "restart" { timeout = 1200 }
    end
    boot = host.ask "cat /proc/sys/kernel/random/boot_id"
    if f.control_plane then host.command "etcd is healthy" { timeout = 400, run = etcd.healthy(380) } end
  end)
  return boot
end

--- Brings ctx.fields.name where its fields say: packages (a word: upgrade once for it; nil: do not), security, reboot, restart (a
-- word: restart once for it), control_plane, max_unavailable, host.
function M.bring(ctx, api)
  local f, name = ctx.fields, ctx.fields.name:lower()
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
end

return M
