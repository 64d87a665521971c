#!/usr/bin/env bash
# The example policies: recipes/cluster.lua passes them, and a recipe that breaks each is told so, at the resource's place, before
# anything is touched.
. "$(dirname "$0")/lib/story.sh"
policies=$root/examples/policies

exits "the cluster passes" 0 plan --emulator --policy "$policies"
lacks "without a word" "(policy "

mkdir "$work/bad"
cat >"$work/bad/bad.lua" <<'LUA'
local azure = use("azure")
local p = params { token = param.secret { optional = true } }
local group = azure.resource_group "main" { name = "bad-rg", location = "westus2", tags = { owner = p.token or "me" } }
local function own(fields)
  fields.group, fields.tags = group, { environment = "test" }
  return fields
end
azure.network_security_group "open" (own { name = "open", rules = {
  { name = "all", priority = 100, port = "*", source = "*" },
  { name = "web", priority = 110, port = 443, source = "10.0.0.0/16" },
  { name = "ssh", priority = 120, port = { 22, 80 }, source = { "10.1.0.0/16", "Internet" }, protocol = "Udp" },
} })
azure.network_security_group "tight" (own { name = "tight", rules = {
  { name = "some", priority = 100, port = "20-30", source = "10.0.0.0/8" },
  { name = "fewer", priority = 110, port = 22, source = { "10.1.0.0/16", "10.2.3.4" } },
  { name = "more", priority = 120, port = 22, source = { "10.1.0.0/16", "11.0.0.0/8" } },
} })
azure.virtual_machine_scale_set "control" (own { name = "control", mode = "Flexible", fault_domains = 1, spot = { eviction = "Delete" } })
LUA
recipe=$work/bad/bad.lua
canary=canary-$RANDOM$RANDOM$RANDOM
printf '%s\n' "$canary" >"$work/token"
exits "one that does not is refused" 1 apply --policy "$policies" "token=@$work/token"
matches "no tags" "bad.lua:3: azure.resource_group.main: has no tag .environment. \(policy tags\)"
matches "everything open" "bad.lua:8: azure.network_security_group.open: rule .all. lets everyone reach port 22 \(policy ssh\)"
matches "among others" "rule .ssh. lets everyone reach port 22"
lacks "but not a network of ours" "rule \`some\` lets everyone"
matches "a Spot control plane" "bad.lua:18: azure.virtual_machine_scale_set.control: is a control plane and a Spot machine \(policy spot\)"
matches "a rule behind another is a warning" "warning: azure.network_security_group.open: rule .web. has no effect: .all. comes before it"
matches "part by part" "warning: azure.network_security_group.tight: rule .fewer. has no effect: .some. comes before it"
lacks "a wider one has an effect" "rule \`more\` has no effect"
lacks "nor one of another protocol" "rule \`ssh\` has no effect"
has "the end says how many" "4 denied by policy; nothing was changed"
same "nothing was made" "$(ids)" ""
exits "a plan is refused too" 1 plan --emulator --policy "$policies" "token=@$work/token"

mkdir "$work/own"
echo 'for _, r in ipairs(plan.resources) do if r.fields.tags then warn(r, r.fields.tags.owner or "none") end end' >"$work/own/secrets.lua"
exits "a policy that only warns lets it pass" 0 plan --emulator --policy "$work/own" "token=@$work/token"
has "it sees no secret" "(secret) (policy secrets)"
lacks "anywhere" "$canary"
echo 'while true do end' >"$work/own/loop.lua"
exits "one that does not end is ended" 1 plan --emulator --policy "$work/own"
has "and told" "an endless loop?"
echo 'os.exit(0)' >"$work/own/loop.lua"
exits "one that looks outside is refused" 1 plan --emulator --policy "$work/own"
has "with its place" "loop.lua"
exits "a folder that is not there" 1 plan --emulator --policy "$work/none"
has "is told" "$work/none"
