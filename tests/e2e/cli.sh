#!/usr/bin/env bash
# The command line over resources of this machine: plan, apply, change, drift, rename, parameters, saved plans, failures,
# interrupts, secrets, import, destroy.
. "$(dirname "$0")/lib/verbs.sh"

cat >demo.lua <<'LUA'
local here, random = use("local", "random")
local p = params {
  who   = param.string { default = "you" },
  count = param.integer { default = 2, min = 0 },
  token = param.secret { optional = true },
}
local pet = random.name "pet" { length = 6 }
local hello = here.file "hello" { path = "made/hello", content = "hello " .. p.who .. "\nfrom " .. pet.value .. "\n" }
for i = 1, p.count do
  here.file("n" .. i) { path = "made/n" .. i, content = "number " .. i, after = hello }
end
if p.token then here.file "token" { path = "made/token", content = "token=" .. p.token, mode = "0600" } end
outputs { pet = pet.value, path = hello.id, greeting = { to = p.who, secret = p.token } }
LUA

# the first apply, and again
run 2 plan demo.lua --detailed-exitcode
has out "Plan: 4 to add, 0 to change, 0 to destroy."
if [ -e .vmrun ]; then not_ok "a plan made a state folder"; else ok; fi
run 0 demo.lua
has out "Done: 4 added"
has out 'path = "made/hello"'
run 0 plan demo.lua --detailed-exitcode
has out "No changes."
before=$(stat -c '%y %s' .vmrun/stacks/demo/state.db)
run 0 apply demo.lua
has out "No changes."
is "$(stat -c '%y %s' .vmrun/stacks/demo/state.db)" "$before"
is "$(stat -c %a .vmrun) $(cat .vmrun/.gitignore) $(stat -c %a .vmrun/stacks/demo/state.db)" "700 * 600"

# state and outputs
run 0 state list demo.lua
is "$(sort out | tr '\n' ' ')" "local.file.hello local.file.n1 local.file.n2 random.name.pet "
run 0 state show demo.lua local.file.hello
has out "made/hello"
run 1 state show demo.lua local.file.helo
has err "did you mean 'local.file.hello'?"
run 0 output demo.lua path
is "$(cat out)" "made/hello"
run 0 output demo.lua --json
is "$(python3 -c 'import json; print(json.load(open("out"))["path"])')" "{'sensitive': False, 'type': 'string', 'value': 'made/hello'}"

# joins of references while Lua's stack grows and shrinks
cat >joins.lua <<'LUA'
local pet = use("random").name "pet" { length = 6 }
local function deep(n) return n == 0 and "" or deep(n - 1) .. "" end
local texts = {}
for i = 1, 400 do
  if i % 20 == 0 then deep(150) end
  texts[i] = "a " .. pet.value .. " b " .. i .. " c"
end
outputs { texts = texts, pet = pet.value }
LUA
run 0 apply joins.lua
run 0 output joins.lua --json
is "$(python3 - <<'PY'
import json
out = json.load(open("out"))
pet = out["pet"]["value"]
print(out["texts"]["value"] == ["a %s b %d c" % (pet, i) for i in range(1, 401)])
PY
)" True

# changed in the recipe and outside, told apart and mended
echo tampered >made/n1
run 2 plan demo.lua who=me --detailed-exitcode
has out "field \`content\` changed outside"
has out "+hello me"
run 2 drift demo.lua
has out "! local.file.n1: drifted"
hasnt out "local.file.hello"
has out "1 changed outside, of which 0 deleted."
mv made/n2 made/away
run 2 drift demo.lua --json
is "$(python3 -c 'import json; print(json.load(open("out"))["summary"]["drifted"])')" 2
mv made/away made/n2
run 0 apply demo.lua who=me
has out "Done: 0 added, 2 changed, 0 destroyed"
run 0 drift demo.lua
has out "No changes."
is "$(head -1 made/hello)" "hello me"
is "$(cat made/n1)" "number 1"

# remembered parameters
run 1 plan demo.lua
has err "who was me; pass who=me or --unset who"
run 0 plan demo.lua --unset who
has out "+hello you"
run 1 plan demo.lua who=me coutn=3
has err "no parameter 'coutn' (from command line); did you mean 'count'?"
run 1 plan demo.lua who=me count=x
has err "wants an integer"
VMRUN_PARAM_count=3 run 0 plan demo.lua who=me
has out "+ local.file.n3"
echo '{"count": 4, "who": "file"}' >more.json
run 0 plan demo.lua --params more.json who=me
has out "+ local.file.n4"
hasnt out "hello file"
echo 'return { count = 1 }' >demo.params.lua
run 0 plan demo.lua who=me
has out "- local.file.n2"
rm demo.params.lua

# fewer, and a saved plan
run 0 plan demo.lua who=me count=1 --out plan.json
run 0 apply plan.json
has out "Done: 0 added, 0 changed, 1 destroyed"
if [ -e made/n2 ]; then not_ok "n2 is still there"; else ok; fi
run 1 apply plan.json
has err "plan"
run 0 plan demo.lua who=me count=3 --target local.file.n2 --out plan.json
run 1 apply plan.json --target local.file.n3
has err "has its own --target"
run 0 apply plan.json
has out "Done: 1 added, 0 changed, 0 destroyed"
if [ -e made/n3 ]; then not_ok "the saved plan was for n2 only"; else ok; fi
run 0 apply demo.lua who=me count=1
has out "Done: 0 added, 0 changed, 1 destroyed"
run 0 plan demo.lua who=me count=1 --detailed-exitcode

# secrets: digests in the state, and nowhere in the logs
canary="canary-$RANDOM$RANDOM$RANDOM"
run 1 apply demo.lua who=me count=1 token="$canary"
has err "a command line is seen by others"
printf '%s\n' "$canary" >secret
run 0 apply demo.lua who=me count=1 token=@secret
is "$(cat made/token)" "token=$canary"
hasnt out "$canary"
run 0 plan demo.lua who=me count=1 token=@secret --detailed-exitcode
if grep -rq "$canary" .vmrun; then not_ok "the canary is in .vmrun"; else ok; fi
echo "another-$canary" >secret
run 2 plan demo.lua who=me count=1 token=@secret --detailed-exitcode
hasnt out "$canary"
has out "(secret) changed"
run 1 output demo.lua greeting
has err "is a secret"
run 0 output demo.lua
has out "(secret)"

# events
run 0 apply demo.lua who=me count=2 token=@secret --json
python3 - <<'PY' >check 2>&1 && ok || not_ok "events: $(cat check)"
import json
events = [json.loads(line) for line in open("out")]
names = [e["event"] for e in events]
assert names[0] == "plan" and names[-1] == "outputs" and "summary" in names, names
assert any(e["event"] == "done" and e["address"] == "local.file.n2" for e in events), events
PY

# a failure stops only what depends on it
cat >broken.lua <<'LUA'
local here = use "local"
local bad = here.command "bad" { command = "echo out of paper >&2; exit 3" }
here.file "after" { path = "made/after", content = "x", after = bad }
here.file "other" { path = "made/other", content = "y" }
LUA
run 1 apply broken.lua
has err "broken.lua:2: local.command.bad: create failed: the command ended with exit code 3: out of paper"
has out "local.file.after: not done"
is "$(cat made/other)" "y"
has out "1 failed, 1 not done because of that."

# interrupted: what runs ends, the rest is left for the next time
cat >slow.lua <<'LUA'
local here = use "local"
local first = here.command "first" { command = "touch made/started; sleep 1; echo done" }
here.file "second" { path = "made/second", content = first.stdout }
LUA
"$VMRUN" apply slow.lua >out.slow 2>err.slow </dev/null &
child=$!
for _ in $(seq 100); do [ -e made/started ] && break; sleep 0.05; done
kill -INT "$child"
wait "$child"
is "$?" 1
cp out.slow out; cp err.slow err
has out "starting nothing more"
run 0 state list slow.lua
is "$(cat out)" "local.command.first"
run 0 apply slow.lua
is "$(cat made/second)" "done"

# interrupted twice: what runs is stopped, and the next run looks first
cat >stuck.lua <<'LUA'
local here = use "local"
here.command "stuck" { command = "touch made/stuck; sleep 60" }
LUA
"$VMRUN" apply stuck.lua >out 2>err </dev/null &
child=$!
for _ in $(seq 100); do [ -e made/stuck ] && break; sleep 0.05; done
kill -INT "$child"
sleep 0.3
kill -TERM "$child"
wait "$child"
is "$?" 1
has out "stopping what runs"
sed -i 's/sleep 60/true/' stuck.lua
run 0 apply stuck.lua

# killed right after each of the first commits, in a fresh state: the next run completes
for n in 1 2 3 4 5; do
  rm -rf made .vmrun/stacks/demo
  VMRUN_CRASH_AT_COMMIT=$n run 137 apply demo.lua who=crash
  run 0 apply demo.lua who=crash
  run 0 plan demo.lua who=crash --detailed-exitcode
done
run 0 apply demo.lua who=me count=2 token=@secret

# a closed stdout is no file of ours
"$VMRUN" apply demo.lua who=me count=3 token=@secret >&- 2>err </dev/null
is "$?" 0
run 0 plan demo.lua who=me count=3 token=@secret --detailed-exitcode

# a full disk: one message, and nothing half-written
cat >full.lua <<'LUA'
use("local").value "big" { value = ("x"):rep(200000) }
LUA
(ulimit -f 64; "$VMRUN" apply full.lua --state-dir full >out 2>err </dev/null)
is "$?" 1
has err "vmrun: "
run 0 apply full.lua --state-dir full

# what the last run did
run 0 report full.lua --state-dir full --out report.html
has report.html "local.value.big"

# a name that changes, a thing that is let go, and one that is taken over
cat >names.lua <<'LUA'
local here = use "local"
here.file "old" { path = "made/kept", content = "kept" }
here.file "gone" { path = "made/gone", content = "gone" }
LUA
run 0 apply names.lua
cat >names.lua <<'LUA'
local here = use "local"
local new = here.file "new" { path = "made/kept", content = "kept" }
moved { from = "local.file.old", to = new }
removed "local.file.gone"
LUA
run 0 apply names.lua
has out "was local.file.old"
is "$(cat made/gone)" "gone"
run 0 state list names.lua
is "$(cat out)" "local.file.new"
rm -rf .vmrun/stacks/names
run 0 import names.lua --all
has out "1 imported"
run 0 plan names.lua --detailed-exitcode
run 0 state mv names.lua local.file.new local.file.newer
run 0 state rm names.lua local.file.newer
run 1 state rm names.lua local.file.newer
has err "the state has no 'local.file.newer'"

# protected things stay
cat >guarded.lua <<'LUA'
local here = use "local"
here.file "safe" { path = "made/safe", content = "safe", protect = true }
LUA
run 0 apply guarded.lua
run 1 destroy guarded.lua
has err "protect"
is "$(cat made/safe)" "safe"

# graph: components are clusters
cat >nested.lua <<'LUA'
local here = use "local"
local inner = component "inner" { inputs = {}, build = function() here.file "f" { path = "a", content = "b" } return {} end }
local outer = component "outer" { inputs = {}, build = function() inner "i" {} inner "j" {} here.file "g" { path = "c", content = "d" } return {} end }
outer "o" {}
outer "oo" {}
here.file "x" { path = "x", content = "x" }
LUA
run 0 graph nested.lua
is "$(grep -c 'subgraph "cluster_' out) $(grep -c '{' out) $(grep -c '}' out)" "6 7 7"
has out 'subgraph "cluster_outer.oo/inner.j" {'
run 0 graph nested.lua --format svg
is "$(grep -c 'class="cluster"' out) $(grep -c 'class="node"' out)" "6 7"
run 0 graph nested.lua --json
is "$(python3 -c 'import json; print(sorted(n.get("component", "") for n in json.load(open("out"))["nodes"])[-1])')" "outer.oo/inner.j"

# why: what it needs and who needs it, what would happen, and its part in the last run
cat >chain.lua <<'LUA'
local here = use "local"
local first = here.command "first" { command = "sleep 0.3" }
local second = here.file "second" { path = "made/chain", content = "2", after = first }
here.file "third" { path = "made/third", content = "path of " .. second.id }
here.file "alone" { path = "made/alone", content = "alone" }
LUA
run 0 why chain.lua local.file.second
has out "now: create, new"
has out "no run of this stack is known"
run 0 apply chain.lua
echo other >made/chain
run 0 why chain.lua local.file.second
has out "local.file.second  (chain.lua:3)"
has out "now: change, field \`content\` changed outside"
has out "    local.command.first, by after  (chain.lua:2)"
has out "    local.file.third, by content  (chain.lua:4)"
has out "on the critical path"
run 0 why chain.lua local.file.alone
has out "not on the critical path"
has out "needs nothing"
run 0 why chain.lua local.file.third --json
is "$(python3 -c 'import json; w = json.load(open("out")); print(w["needs_all"], w["needed_by"], w["needs"][0]["address"])')" "2 [] local.file.second"
run 1 why chain.lua local.file.thrid
has err "did you mean 'local.file.third'?"
run 1 why chain.lua
has err "which?"

# checks: before anything is touched, in the middle, behind it, and those that only warn
cat >checked.lua <<'LUA'
requires { vmrun = ">= 0.1" }
local here, random = use("local", "random")
local p = params { n = param.integer { default = 2 }, letters = param.integer { default = 6 }, key = param.secret { optional = true } }
local few = check "few" { of = p.n, that = function(n) return n <= 3, "n is " .. n .. ", more than 3" end }
local name = random.name "name" { length = p.letters }
local six = check "six" { of = { name.value, p.key }, that = function(v, key) return #v == 6 and key ~= v end, message = "not six letters" }
here.file "checked" { path = "made/checked", content = "n = " .. p.n, after = { few, six } }
check "hint" { of = { name.value }, that = function(v) return v == "x" end, message = "the name is not x", warn = true }
LUA
run 1 apply checked.lua n=4
has err "checked.lua:4: check.condition.few: n is 4, more than 3"
run 0 state list checked.lua
is "$(cat out)" ""
run 1 apply checked.lua letters=5
has out "check.condition.six: read during apply"
has err "checked.lua:6: check.condition.six: read failed: not six letters"
if [ -e made/checked ]; then not_ok "the file was written in spite of its check"; else ok; fi
run 0 apply checked.lua letters=6
has out "Note: check.condition.hint: the name is not x"
run 0 plan checked.lua letters=6 --detailed-exitcode
has out "Note: check.condition.hint: the name is not x"
run 0 apply checked.lua letters=6 n=3
sed -i 's/return n <= 3/while true do end return n <= 3/' checked.lua
run 1 plan checked.lua letters=6 n=3
has err "an endless loop?"
sed -i 's/while true do end/missing.word()/' checked.lua
run 1 plan checked.lua letters=6 n=3
has err "unknown name 'missing'"

# a state of a newer vmrun, and a standard library that is another
VMRUN_STDLIB=$root/stdlib run 0 apply chain.lua
echo other >made/chain
run 0 plan chain.lua
has out "The standard library is another than at the last apply"
run 0 apply chain.lua
echo other >made/chain
run 0 plan chain.lua
hasnt out "The standard library"
VMRUN_AS_VERSION=99.1.0 run 0 apply chain.lua
run 1 plan chain.lua
has err "stack 'chain' was last applied by vmrun 99.1.0, and this is"
run 1 destroy chain.lua

# held things stay as they are, for everybody, and what needs them goes on
cat >held.lua <<'LUA'
local here = use "local"
local p = params { text = param.string { default = "1" }, first = param.boolean { default = true } }
local first = p.first and here.file "first" { path = "made/first", content = p.text }
here.file "second" { path = "made/second", content = "second " .. p.text, after = first and { first } or nil }
LUA
run 0 apply held.lua
run 1 hold held.lua local.file.first
has err "a hold wants --until TIME and --reason TEXT"
run 1 hold held.lua local.file.first --until soon --reason audit
has err "--until wants a time such as"
run 1 hold held.lua local.file.first --until 2001-02-03T04:05+02:00 --reason audit
has err "is over already"
run 1 hold held.lua local.file.frist --until 1h --reason audit
has err "did you mean 'local.file.first'?"
run 0 hold held.lua local.file.first --until 1h --reason "the audit runs"
run 0 apply held.lua text=2
has out "local.file.first is held until"
has out ": the audit runs"
has out "Done: 0 added, 1 changed, 0 destroyed"
is "$(cat made/first) $(cat made/second)" "1 second 2"
run 0 apply held.lua text=2 first=false
has out "No changes."
run 0 hold held.lua --json
is "$(python3 -c 'import json; print(list(json.load(open("out"))))')" "['local.file.first']"
run 1 destroy held.lua
has err "is held until"
run 0 hold held.lua local.file.first --release
run 0 hold held.lua
is "$(cat out)" ""
run 0 hold held.lua 'local.file.*' --until 2d --reason short
run 0 hold held.lua 'local.file.*' --release
run 0 apply held.lua text=2 first=false
has out "Done: 0 added, 0 changed, 1 destroyed"
run 0 destroy held.lua

# a member that is held is not the one that goes
echo '{}' >mock.json
export VMRUN_MOCK=$PWD/mock.json
set=azure.virtual_machine_scale_set.worker
run 0 apply "$root/recipes/cluster.lua" control_planes=1 workers=2 --yes
run 0 hold "$root/recipes/cluster.lua" "$set.instances[1]*" --until 1h --reason "a core dump is on it"
run 0 plan "$root/recipes/cluster.lua" control_planes=1 workers=1
has out "- $set.instances[0]: remove"
hasnt out "$set.instances[1]: remove"
run 0 hold "$root/recipes/cluster.lua" "$set" --until 1h --reason "no more, no less"
run 0 plan "$root/recipes/cluster.lua" control_planes=1 workers=5
has out "No changes."
unset VMRUN_MOCK

# two at once: the second says who holds the state
cat >long.lua <<'LUA'
local here = use "local"
here.command "long" { command = "touch made/long; sleep 2" }
LUA
"$VMRUN" apply long.lua >/dev/null 2>&1 </dev/null &
child=$!
for _ in $(seq 100); do [ -e made/long ] && break; sleep 0.05; done
run 1 apply long.lua
has err "$child"
run 0 apply long.lua --lock-timeout 20s
has err "waiting up to 20 s"
has err "$child"
wait "$child"
run 1 apply long.lua --lock-timeout soon
has err "--lock-timeout wants a time"

# wrong usage
run 1 plan
run 1 plan demo.lua --detaild-exitcode
has err "did you mean --detailed-exitcode?"
run 1 plann demo.lua
has err "did you mean 'plan'?"
run 1 plan no-such.lua
has err "there is no file 'no-such.lua'"
run 1 apply demo.lua --parallel 0 who=me
has err "--parallel wants a number"
run 1 apply demo.lua --parallel local=many who=me
has err "--parallel wants a number"

# limits: of all, of a provider, of a kind, and a kind's own
mkdir -p slow
cat >slow/thing.lua <<'LUA'
local field, kind, task = require "field", require "kind", require "task"
return kind "slow.thing" {
  doc = "Takes its time.", remembered = true, at_once = 3, fields = {}, outputs = { id = field.string {} },
  create = function(ctx) task.sleep(0.05) return { outputs = { id = ctx.name } } end, delete = function() end,
}
LUA
sed 's/slow.thing/slow.other/; s/at_once = 3, //' slow/thing.lua >slow/other.lua
echo 'local slow = use "slow"; for i = 1, 8 do slow.thing("t" .. i) {} slow.other("o" .. i) {} end' >many.lua
# The most steps of a kind that ran at once, by the report.
most() {
  python3 - "$1" <<'PY'
import json, sys
events = [e for e in json.load(open(".vmrun/stacks/many/report.json"))["events"] if e["address"].startswith(sys.argv[1])]
points = sorted([(e["start"], 1) for e in events] + [(e["start"] + e["seconds"], -1) for e in events])
now = most = 0
for _, step in points:
    now += step
    most = max(most, now)
print(most)
PY
}
run 0 apply many.lua
is "$(most slow.thing) $(most slow.other)" "3 8"
rm -r .vmrun/stacks/many
run 0 apply many.lua --parallel slow.thing=2 --parallel slow.other=4
is "$(most slow.thing) $(most slow.other)" "2 4"
rm -r .vmrun/stacks/many
run 0 apply many.lua --parallel slow=5
is "$(most slow) $(($(most slow.thing) <= 3))" "5 1"
rm -r .vmrun/stacks/many
run 0 apply many.lua --parallel 1
is "$(most slow)" "1"

# everything goes
run 0 destroy demo.lua token=@secret
has out "Done: 0 added, 0 changed,"
run 0 state list demo.lua
is "$(cat out)" ""
if [ -e made/hello ] || [ -e made/token ]; then not_ok "files are left"; else ok; fi
run 0 destroy demo.lua
has out "nothing to destroy"
run 0 plan demo.lua
has out "to add"

finish
