#!/usr/bin/env bash
# Kinds of a library beside the recipe: a collection that grows and shrinks with what stands on its members, secret outputs,
# deadlines, notes that survive a kill, things that are not ours.
. "$(dirname "$0")/lib/verbs.sh"

mkdir -p lab world
cat >lab/set.lua <<'LUA'
--- Members are files world/NAME/ID.
local kind, field, fs, json = require "kind", require "field", require "fs", require "json"

local function members(f)
  local list = {}
  for i, id in ipairs(fs.list("world/" .. f.name) or {}) do
    list[i] = { id = id, address = "10.0.0." .. id }
  end
  return json.array(list)
end

local function note(line) fs.write("journal", line .. "\n", { append = true }) end

-- A number that no member had before.
local function fresh_id()
  local id = (tonumber(fs.read("last") or "") or 0) + 1
  fs.write("last", tostring(id))
  return tostring(id)
end

return kind "lab.set" {
  doc = "A set.",
  fields = { name = field.string { default_name = true, replace = true, required = true }, capacity = field.integer { required = true } },
  outputs = { id = field.string {} },
  collection = { output = "members", count = "capacity", item = { id = field.string {}, address = field.string {} } },
  identity = function(f) return f.name end,
  predict = function(f) return { id = f.name } end,
  read = function(ctx)
    local f = ctx.fields
    if not fs.stat("world/" .. f.name) then return nil end
    return { fields = { name = f.name, capacity = #members(f) }, outputs = { id = f.name }, members = members(f) }
  end,
  create = function(ctx)
    fs.mkdir("world/" .. ctx.fields.name)
    note("create " .. ctx.fields.name)
    for _ = 1, ctx.fields.capacity do fs.write(("world/%s/%s"):format(ctx.fields.name, fresh_id()), "") end
    return { outputs = { id = ctx.fields.name }, members = members(ctx.fields) }
  end,
  add = function(ctx, n)
    local fresh = {}
    for i = 1, n do
      local id = fresh_id()
      fs.write(("world/%s/%s"):format(ctx.fields.name, id), "")
      note("add " .. id)
      fresh[i] = { id = id, address = "10.0.0." .. id }
    end
    return fresh
  end,
  remove = function(ctx, id)
    fs.remove(("world/%s/%s"):format(ctx.fields.name, id))
    note("remove " .. id)
  end,
  update = function(ctx) return { outputs = { id = ctx.fields.name }, members = members(ctx.fields) } end,
  delete = function(ctx)
    fs.remove("world/" .. ctx.fields.name, { recursive = true })
    note("delete " .. ctx.fields.name)
  end,
  foreign = function(ctx)
    local found = {}
    for _, name in ipairs(fs.list("world") or {}) do
      if not ctx.ours[name] then
        found[#found + 1] = { id = name, what = "folder " .. name, remove = function() fs.remove("world/" .. name, { recursive = true }) end }
      end
    end
    return found
  end,
}
LUA
cat >lab/host.lua <<'LUA'
--- A host is a file world-host-ADDRESS with its key's length; its token is a secret that only the file knows.
local kind, field, fs, fail, task = require "kind", require "field", require "fs", require "fail", require "task"

local function path(f) return "host-" .. f.address end
local function note(line) fs.write("journal", line .. "\n", { append = true }) end

return kind "lab.host" {
  doc = "A host.",
  fields = { address = field.string { required = true, replace = true }, key = field.secret {}, wait = field.number { ignore = true },
    fails = field.boolean { ignore = true }, die = field.boolean { ignore = true }, lingers = field.number { ignore = true } },
  outputs = { id = field.string {}, token = field.secret {}, echo = field.string {}, resumed = field.string {} },
  timeouts = { create = 1 },
  identity = function(f) return f.address end,
  read = function(ctx)
    local text = fs.read(path(ctx.fields))
    if not text then return nil end
    return { fields = { address = ctx.fields.address, key = ctx.fields.key }, outputs = { id = ctx.fields.address,
      token = text, echo = ctx.fields.key and "key is " .. ctx.fields.key, resumed = ctx.prior and ctx.prior.outputs and ctx.prior.outputs.resumed } }
  end,
  create = function(ctx)
    local f = ctx.fields
    if f.fails then error(fail { "no luck with " .. tostring(f.key), code = "luck", hint = "try " .. tostring(f.key) }) end
    if f.wait then task.sleep(f.wait) end
    local resumed = ctx.recorded and ctx.recorded.step or "no"
    ctx:record { step = "written", key = f.key }
    if f.die and resumed == "no" then require("process").kill(require("process").pid(), 9) task.sleep(5) end
    fs.write(path(f), "token-of-" .. f.address)
    note("create " .. f.address)
    return { outputs = { id = f.address, token = "token-of-" .. f.address, echo = f.key and "key is " .. f.key, resumed = resumed } }
  end,
  update = function(ctx) return { outputs = ctx.prior.outputs } end,
  delete = function(ctx)
    if ctx.fields.lingers then task.sleep(ctx.fields.lingers) end
    fs.remove("host-" .. (ctx.fields.address or ctx.prior.id))
    note("delete " .. (ctx.fields.address or ctx.prior.id))
  end,
}
LUA
cat >set.lua <<'LUA'
local lab, here = use("lab", "local")
local p = params { n = param.integer { default = 2 }, key = param.secret { optional = true } }
local set = lab.set "s" { capacity = p.n }
local node = component "node" {
  inputs = { address = param.string {} },
  build = function(input)
    local host = lab.host "host" { address = input.address, key = p.key }
    local file = here.file "note" { path = "note-" .. host.id, content = "token " .. host.token .. "\n", mode = "0600" }
    return { host = host, file = file }
  end,
}
local nodes = each(set.members, function(m) return node "n" { address = m.address } end)
local joined = each(nodes, function(n) return here.value "joined" { value = n.file.id } end)
local all = here.value "all" { value = { hosts = nodes.host, first = nodes[1].host.id } }
outputs { hosts = all.output, first = nodes[1].host.id, joined = joined.output, token = nodes[1].host.token }
LUA

# a set of two, with a host and a file on each member
run 0 apply set.lua
has out "Done:"
is "$(cat note-10.0.0.2)" "token token-of-10.0.0.2"
run 0 output set.lua first
is "$(cat out)" "10.0.0.1"
run 1 output set.lua token
run 0 output set.lua token --reveal
is "$(cat out)" "token-of-10.0.0.1"
if grep -rq "token-of" .vmrun; then not_ok "a secret output is in .vmrun"; else ok; fi
run 0 plan set.lua --detailed-exitcode
has out "No changes."

# grows by two: exactly what two members need
: >journal
run 0 plan set.lua n=4
has out "lab.set.s.members[+1..+2]/node.n/lab.host.host: create 2 alike"
run 0 apply set.lua n=4
is "$(sort journal | tr '\n' ' ')" "add 3 add 4 create 10.0.0.3 create 10.0.0.4 "
run 0 plan set.lua n=4 --detailed-exitcode

# shrinks by one: what stands on the member goes first
: >journal
run 0 apply set.lua n=3
is "$(tr '\n' ' ' <journal)" "delete 10.0.0.4 remove 4 "
if [ -e note-10.0.0.4 ]; then not_ok "the file of the member is left"; else ok; fi
run 0 plan set.lua n=3 --detailed-exitcode

# a member that somebody took away comes back with all that stood on it
rm world/s/3 host-10.0.0.3 note-10.0.0.3
run 2 plan set.lua n=3 --detailed-exitcode
run 0 apply set.lua n=3
run 0 plan set.lua n=3 --detailed-exitcode
is "$(cat note-10.0.0.5)" "token token-of-10.0.0.5"

# secrets that go in do not come out, whatever a kind does with them
printf 'canary-4711' >key
run 0 apply set.lua n=3 key=@key
if grep -rq "canary-4711" .vmrun out err; then not_ok "the canary came out"; else ok; fi
run 0 plan set.lua n=3 key=@key --detailed-exitcode

# destroy lists what is not ours, and refuses
mkdir -p world/theirs
run 1 destroy set.lua key=@key
has out "lab.set.s: also holds folder theirs"
has err "pass --include-unmanaged"
is "$(ls world/s | wc -l)" 3
run 0 destroy set.lua key=@key --include-unmanaged
is "$(ls world)" ""
is "$(ls | grep -c '^host-\|^note-')" 0
run 0 state list set.lua
is "$(cat out)" ""

# failures: secrets masked, deadlines, kinds that stumble
cat >fails.lua <<'LUA'
local lab = use "lab"
local p = params { key = param.secret {} }
lab.host "fails" { address = "10.1.0.1", key = p.key, fails = true }
lab.host "slow" { address = "10.1.0.2", wait = 30 }
LUA
run 1 apply fails.lua key=@key
has err "lab.host.fails: create failed: no luck with (secret)"
has err "try (secret)"
has err "lab.host.slow: create failed: create did not end within 1 s"

# a note survives a kill, and is there when the next run goes on
cat >dies.lua <<'LUA'
local lab = use "lab"
local host = lab.host "dies" { address = "10.2.0.1", die = true }
outputs { resumed = host.resumed }
LUA
run 137 apply dies.lua
run 0 apply dies.lua
has out 'resumed = "written"'

# a recipe's deadline of a delete holds in a destroy, too
echo 'use("lab").host "slow" { address = "slow", lingers = 30, timeouts = { delete = 0.3 } }' >slow.lua
run 0 apply slow.lua
began=$SECONDS
run 1 destroy slow.lua --yes
has err "lab.host.slow"
if [ $((SECONDS - began)) -lt 10 ]; then ok; else not_ok "the destroy waited for the kind's own deadline"; fi

# native modules sleep while a recipe is read
cat >lab/bad.lua <<'LUA'
local kind, fs = require "kind", require "fs"
fs.write("evil", "x")
return kind "lab.bad" { read = function() end }
LUA
echo 'use("lab").bad "x" {}' >bad.lua
run 1 check bad.lua
has err "lab/bad.lua:2: fs.write works only inside a kind's verbs, not while a recipe is read"
if [ -e evil ]; then not_ok "the page wrote a file"; else ok; fi

finish
