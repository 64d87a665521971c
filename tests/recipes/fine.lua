-- Everything that the language has, used right: nothing is said.
local sample, again = use("sample", "sample")
local names = require "lib.names"

local p = params {
  name    = param.string { default = "demo", match = "^[a-z]+$" },
  workers = param.integer { default = 2 },
  token   = param.secret { optional = true },
  ranges  = param.list { param.cidr {}, default = { "10.0.0.0/16", "10.1.0.0/16" } },
}

local group = sample.group "main" { tags = { owner = p.name, text = file("inside.txt"), names = names.of("n", 7) } }
local nets = each(p.ranges, function(range, i)
  return again.network("net" .. i) { group = group, cidr = range, key = p.token }
end)
local set = sample.set "workers" { network = nets[1], capacity = p.workers, protect = true }

local node = component "node" {
  doc = "a host and its friend",
  inputs = { address = param.string {}, via = param.resource { "sample.host", optional = true } },
  build = function(input, name)
    local host = sample.host "host" { address = input.address, via = input.via, ignore_changes = { "peers" } }
    local friend = sample.host "friend" { address = host.address, after = host }
    return { host = host, friend = friend, name = name }
  end,
}
local first = node "first" { address = nets[2].gateway .. ":22" }
local hosts = each(set.instances, function(vm) return node "worker" { address = vm.private_ip, via = first.host } end)
local joined = each(hosts, function(worker)
  return sample.host "joined" { address = worker.host.fingerprint, key = worker.host.token }
end)
local one = sample.host "one" { address = hosts[1].host.address, peers = { hosts[2].friend.fingerprint }, via = joined[1] }
local template_text = template("hello ${who}", { who = group.id })
moved { from = "sample.group.old", to = group }
removed { "sample.host.gone" }

outputs {
  zulu = group.id,
  all = joined.fingerprint,
  alpha = { list = { one.fingerprint, nets[1].id }, text = template_text, count = #nets },
  config = yaml { token = one.token, name = group.name },
}
