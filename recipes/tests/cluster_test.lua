-- What recipes/cluster.lua is made of, without a cloud: outputs are mocked. Run it with `vmrun test recipes`.
local cluster = "../cluster.lua"

local function count(plan, pattern)
  local n = 0
  for address, action in pairs(plan.actions) do
    if address:find(pattern) and action.action == "create" then n = n + 1 end
  end
  return n
end

case "three control planes and two workers" {
  recipe = cluster, mock = { ["azure.public_ip_address.api"] = { ip = "203.0.113.9" } },
  run = function(t)
    local plan = t:plan()
    t:equal(plan.summary.destroy, 0)
    t:equal(count(plan, "^azure%.virtual_machine%.cp%-%d$"), 3)
    t:equal(count(plan, "^kubeadm%.join%.cp%-%d$"), 2, "the first control plane makes the cluster, the others join")
    t:equal(plan.actions["azure.virtual_machine_scale_set.worker"].after.capacity, 2)
    local done = t:apply()
    t:equal(done.summary.failed, 0)
    t:equal(done.outputs.load_balancer_ip, "203.0.113.9")
    t:equal(t:plan().summary.add, 0, "the same again has nothing to do")
  end,
}

case "workers come and go, and nothing else moves" {
  recipe = cluster, params = { control_planes = 1 },
  run = function(t)
    t:apply()
    local plan = t:plan { workers = 4 }
    t:equal(plan.summary.change + plan.summary.destroy, 0)
    for address in pairs(plan.actions) do t:matches(address, "^azure%.virtual_machine_scale_set%.worker") end
    t:apply { workers = 4 }
    plan = t:plan { workers = 3 }
    t:equal(plan.summary.add, 0)
    t:ok(plan.actions["azure.virtual_machine_scale_set.worker.instances[3]"], "the newest goes")
    t:equal(t:apply { workers = 3 }.summary.failed, 0)
    t:equal(t:destroy { workers = 3 }.summary.failed, 0)
  end,
}

case "another version is a change of each Node, and of nothing that is Azure's" {
  recipe = cluster,
  run = function(t)
    t:apply()
    local plan = t:plan { version = "1.36.2" }
    t:equal(plan.summary.add + plan.summary.destroy, 0)
    local nodes = 0
    for address, action in pairs(plan.actions) do
      t:ok(not address:match("[^/]+$"):find("^azure%."), address)
      if address:find("kubernetes.node.", 1, true) then
        nodes = nodes + 1
        t:equal(action.changes[1].path, "version")
      end
    end
    t:equal(nodes, 5)
    t:equal(t:apply { version = "1.36.2" }.summary.failed, 0)
    t:equal(t:plan { version = "1.36.2" }.summary.change, 0)
  end,
}

case "the API is open to nobody but us" {
  recipe = cluster,
  run = function(t)
    local rules = t:plan().actions["azure.network_security_group.nodes"].after.rules
    for _, rule in ipairs(rules) do
      for _, source in ipairs(type(rule.source) == "table" and rule.source or { rule.source }) do
        t:ok(source ~= "*" and source ~= "0.0.0.0/0" and source ~= "Internet", rule.name .. " is open to everyone")
      end
    end
  end,
}

case "access by a jump host opens no SSH to the outside" {
  recipe = cluster, params = { access = "jump:198.51.100.4", jump_host_keys = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEXAMPLE" },
  run = function(t)
    local plan = t:plan()
    t:equal(#plan.actions["azure.load_balancer.api"].after.nat_rules, 0)
    t:ok(plan.actions["ssh.host.jump"])
  end,
}

case "another word for packages is maintenance of each Node, and a new Node has none" {
  recipe = cluster,
  run = function(t)
    t:apply { packages = "1" }
    local plan = t:plan { packages = "2" }
    t:equal(plan.summary.change, 5)
    t:equal(plan.summary.add + plan.summary.destroy, 0)
    for address, action in pairs(plan.actions) do
      t:matches(address, "kubeadm%.maintenance%.[%w-]+$")
      t:equal(action.changes[1].path, "packages")
    end
    t:equal(t:apply { packages = "2" }.summary.failed, 0)
    plan = t:plan { packages = "2", workers = 3 }
    t:equal(plan.summary.change, 0, "nor is another touched")
  end,
}

case "a key of ours encrypts the disks, and machines wait until it may be used" {
  recipe = cluster, params = { control_planes = 1, disk_encryption = "customer" },
  run = function(t)
    local plan = t:plan()
    t:equal(plan.actions["azure.key_vault.main"].after.purge_protection, true)
    for _, machine in ipairs { "azure.virtual_machine.cp-1", "azure.virtual_machine_scale_set.worker" } do
      t:ok(plan.actions[machine].after.encryption_set, machine)
    end
    local role = "Key Vault Crypto Service Encryption User"
    t:equal(plan.actions["azure.role_assignment.disks"].after.role, role)
    t:equal(t:apply().summary.failed, 0)
    t:fails("it is not known whether etcd keeps its majority")
    local back = t:plan { disk_encryption = "platform" }
    t:equal(back.actions["azure.virtual_machine.cp-1"].action, "replace")
  end,
}

case "monitoring comes and goes without a machine" {
  recipe = cluster, params = { control_planes = 1 },
  run = function(t)
    t:apply()
    local on = t:plan { monitoring = true, log_days = 90 }
    t:equal(on.summary.destroy, 0)
    t:equal(count(on, "^azure%.diagnostic_setting%."), 3, "of the vault, the balancer and the rules")
    t:equal(count(on, "^azure%.data_collection_rule_association%."), 2)
    t:equal(on.actions["azure.log_analytics_workspace.main"].after.retention_days, 90)
    t:equal(on.actions["azure.virtual_machine.cp-1"].action, "update")
    t:equal(t:apply { monitoring = true }.summary.failed, 0)
    local off = t:plan { monitoring = false }
    t:ok(not off.actions["azure.virtual_machine.cp-1"] or off.actions["azure.virtual_machine.cp-1"].action == "update")
    t:equal(off.summary.add, 0)
  end,
}

case "what is wrong is told" {
  recipe = cluster,
  run = function(t)
    t:fails("wants one of 1, 3, 5, got the text \"2\""):check { control_planes = 2 }
    t:fails("did you mean 'workers'"):plan { wrokers = 3 }
  end,
}

case "a range of workers begins with the least, and what is inside of it is left alone" {
  recipe = cluster, params = { control_planes = 1, workers = "2-5" },
  run = function(t)
    local plan = t:plan()
    t:equal(plan.actions["azure.virtual_machine_scale_set.worker"].after.capacity.max, 5)
    t:apply()
    t:equal(t:plan { workers = "1-2" }.summary.add, 0, "two are in this range too")
    plan = t:plan { workers = "3-5" }
    t:equal(plan.actions["azure.virtual_machine_scale_set.worker"].after.capacity, 3)
    t:fails("wants a range from less to more"):check { workers = "5-2" }
  end,
}
