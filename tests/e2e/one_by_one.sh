#!/usr/bin/env bash
# What is alone, is stale and rolls: replaced one after the other, each in a plan of its own, once nothing else is left to do.
. "$(dirname "$0")/lib/verbs.sh"

mkdir -p pool
# A thing is a file that says what it was made of; of another word it is stale.
cat >pool/thing.lua <<'LUA'
local field, fs, json, kind = require "field", require "fs", require "json", require "kind"
local function path(ctx) return "things/" .. ctx.fields.name end
return kind "pool.thing" {
  doc = "A thing.",
  fields = { name = field.string { required = true, replace = true, default_name = true },
    word = field.string { required = true, ignore = true }, size = field.integer { default = 1 }, rolls = field.boolean { ignore = true, default = true } },
  outputs = { id = field.string {} },
  identity = function(f) return f.name end,
  read = function(ctx)
    local thing = json.decode(fs.read(path(ctx)) or "null")
    if type(thing) ~= "table" then return nil end
    local stale = thing.word ~= ctx.fields.word or fs.read "always" ~= nil
    return { fields = { name = ctx.fields.name, size = fs.read "restless" and 0 or thing.size }, outputs = { id = ctx.fields.name }, stale = stale and "word" or nil,
      rolls = ctx.fields.rolls }
  end,
  create = function(ctx)
    if fs.read("broken-" .. ctx.fields.name) then error(ctx.fields.name .. " is broken") end
    fs.write(path(ctx), json.encode { word = ctx.fields.word, size = ctx.fields.size })
    return { outputs = { id = ctx.fields.name } }
  end,
  update = function(ctx)
    local thing = json.decode(fs.read(path(ctx)))
    thing.size = ctx.fields.size
    fs.write(path(ctx), json.encode(thing))
    return { outputs = { id = ctx.fields.name } }
  end,
  delete = function(ctx) fs.remove(path(ctx)) end,
}
LUA
cat >pool.lua <<'LUA'
local pool, here = use("pool", "local")
local p = params { word = param.string {}, size = param.integer { default = 1 }, rolls = param.boolean { default = true },
  protected = param.boolean { default = false }, key = param.secret { optional = true } }
for _, name in ipairs { "a", "b", "c" } do
  local thing = pool.thing(name) { word = p.word, size = p.size, rolls = p.rolls, protect = name == "a" and p.protected or nil }
  here.file(name .. "-note") { path = "things/" .. name .. ".note", content = "of " .. thing.id }
end
LUA
words() { for i in a b c; do jq -r .word things/$i; done | paste -sd' '; }
order() { grep -oE 'pool\.thing\.[abc]: created' out | cut -d. -f3 | cut -d: -f1 | paste -sd' '; }
mkdir -p things

run 0 apply pool.lua word=one
is "$(words)" "one one one"
run 0 plan pool.lua word=one --detailed-exitcode
has out "No changes."

run 2 plan pool.lua word=two --detailed-exitcode
has out "pool.thing.a: replace (stale: word)"
hasnt out "pool.thing.b: replace"
has out "stale, and replaced when this is done: pool.thing.b (word)"
has out "stale, and replaced when this is done: pool.thing.c (word)"
run 0 plan pool.lua word=two --json
is "$(jq -r 'select(.event == "plan") | .actions[] | select(.rolls) | .address + " " + .action' out | paste -sd,)" \
  "pool.thing.a replace,pool.thing.b no-op,pool.thing.c no-op"
run 0 drift pool.lua
hasnt out "when this is done"

# Not its own affair is done first, then each in a plan of its own.
run 0 apply pool.lua word=two size=2
is "$(words)" "two two two"
is "$(order)" "a b c"
is "$(grep -c '^Done: ' out)" 4
is "$(grep '^Done: ' out | head -n 1 | cut -d' ' -f1-7)" "Done: 0 added, 3 changed, 0 destroyed"
run 0 plan pool.lua word=two size=2 --detailed-exitcode

# One that fails stops it; the next run goes on where it was.
touch broken-b
run 1 apply pool.lua word=three size=2
has err "b is broken"
is "$(jq -r .word things/a) $(jq -r .word things/c)" "three two"
rm broken-b
run 0 apply pool.lua word=three size=2
is "$(words)" "three three three"
is "$(order)" "b c"

# Who is held or protected stays, and so do all where the recipe says so.
run 0 hold pool.lua pool.thing.b --until 1h --reason audit
run 0 apply pool.lua word=four size=2 protected=true
is "$(words)" "three three four"
has out "stale, and stays: pool.thing.a (word)"
run 0 hold pool.lua pool.thing.b --release
run 2 plan pool.lua word=four size=2 protected=false --detailed-exitcode
run 0 apply pool.lua word=five size=2 rolls=false protected=false
is "$(words)" "three three four"
has out "stale, and stays: pool.thing.c (word)"

# A part, and a saved plan: what was looked at is what is done.
given=(size=2 rolls=true protected=false)
run 0 apply pool.lua word=five "${given[@]}" --target pool.thing.c
is "$(words)" "three three five"
run 0 plan pool.lua word=five "${given[@]}" --out saved
run 0 apply saved
is "$(words)" "five three five"
has out "Not in this plan: pool.thing.b is stale (word); the next apply replaces it."
run 1 apply saved
has err "plan no longer holds"
run 0 apply pool.lua word=five "${given[@]}"
is "$(words)" "five five five"

# What is asked for is done once.
run 0 apply pool.lua word=asked "${given[@]}" --replace pool.thing.b
is "$(words)" "asked asked asked"
is "$(order)" "b a c"
run 0 apply pool.lua word=five "${given[@]}"

# Nor does it wait for ever for what comes back after each apply.
touch restless
run 1 apply pool.lua word=restless "${given[@]}"
has err "what is stale waits: the plan has changes again after each apply"
is "$(words)" "five five five"
rm restless
run 0 apply pool.lua word=five "${given[@]}"

# What is never right does not go on for ever.
touch always
run 1 apply pool.lua word=five "${given[@]}"
has err "pool.thing.a was replaced, and is stale still (word)"
rm always
run 0 apply pool.lua word=five "${given[@]}"

# A key that a person was asked for is asked for once: the sessions that follow know it.
sed -i 's/optional = true } }/help = "its key" } }/' pool.lua
cat >ask.py <<'PY'
import os, pty, sys
pid, fd = pty.fork()
if pid == 0: os.execv(sys.argv[1], sys.argv[1:])
text = b""
asked = 0
while True:
    try: data = os.read(fd, 4096)
    except OSError: break
    if not data: break
    text += data
    while text.count(b"its key") > asked:
        asked += 1
        os.write(fd, b"open sesame\n")
print(asked, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
PY
is "$(timeout 60 python3 ask.py "$VMRUN" apply pool.lua word=six "${given[@]}" | tail -n 1)" "1 0"
is "$(words)" "six six six"

finish
