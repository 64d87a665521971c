#!/usr/bin/env bash
# vmrun test: the tests of recipes/, failures that are told where they are, JUnit, cases side by side, the emulator as a target.
. "$(dirname "$0")/lib/story.sh"

exits "the recipes' own tests pass" 0 timeout 200 "$VMRUN" test "$root/recipes" --junit "$work/junit.xml"
same "all of them" "$(tail -n 1 <<<"$out")" "$(grep -rc "^case " "$root/recipes/tests" | awk -F: "{ n += \$2 } END { print n }") passed, 0 failed, 0 skipped"
same "JUnit says so too" "$(python3 -c 'import sys, xml.etree.ElementTree as e; r = e.parse(sys.argv[1]).getroot(); print(r.get("failures"), len(r.findall(".//testcase")) == int(r.get("tests")))' "$work/junit.xml")" "0 True"

mkdir -p "$work/t/deep"
cat >"$work/t/demo.lua" <<'LUA'
local here, random = use("local", "random")
local p = params { n = param.integer { default = 2 }, words = param.list { param.string {}, default = {} } }
local name = random.name "name" { length = 6 }
for i = 1, p.n do here.file("n" .. i) { path = "made/" .. i, content = name.value } end
check "small" { of = { name.value }, that = function(v) return #v < 40 end, message = "too long" }
outputs { name = name.value, words = #p.words }
LUA
cat >"$work/t/right_test.lua" <<'LUA'
case "nothing is touched" {
  recipe = "demo.lua", params = { words = { "a", "b" } }, mock = { ["random.name"] = { value = "drawn" } },
  run = function(t)
    local done = t:apply { n = 3 }
    t:equal(done.summary.added, 4)
    t:equal(done.outputs, { name = "drawn", words = 2 })
    t:equal(t:plan { n = 3 }.summary.add, 0)
    t:equal(t:plan { n = 1 }.actions["local.file.n3"].action, "delete")
    t:fails("wants an integer"):check { n = "x" }
  end,
}
case "a check fails" {
  recipe = "demo.lua", mock = { ["random.name.name"] = { value = ("x"):rep(50) } },
  run = function(t) t:fails("check%.condition%.small: .*too long"):apply() end,
}
LUA
cat >"$work/t/deep/wrong_test.lua" <<'LUA'
case "not so" { recipe = "../demo.lua", run = function(t) t:equal(t:plan().summary.add, 7, "how many") end }
case "no failure" { recipe = "../demo.lua", run = function(t) t:fails("anything"):plan() end }
case "not there" { recipe = "../none.lua", run = function(t) t:plan() end }
LUA
cd "$work" || exit
exits "a file" 0 timeout 60 "$VMRUN" test t/right_test.lua
has "passes" "2 passed, 0 failed, 0 skipped"
if [ -e made ] || [ -e t/made ]; then fail "nothing is made"; else pass "nothing is made"; fi
exits "a folder with what is wrong" 1 timeout 60 "$VMRUN" test t --junit junit.xml --parallel 4
has "says how many" "2 passed, 3 failed, 0 skipped"
has "and what and where" "t/deep/wrong_test.lua:1: how many: 3 is not 7"
has "that a failure did not come" 'plan went well, and was to fail with "anything"'
has "that a recipe is not there" "there is no file"
same "and so does JUnit" "$(python3 -c 'import xml.etree.ElementTree as e; print([f.get("message") for f in e.parse("junit.xml").iter("failure")][0])')" \
  "t/deep/wrong_test.lua:1: how many: 3 is not 7"
echo 'case "x" { recipe = "demo.lua", rnu = 1 }' >t/deep/wrong_test.lua
exits "a case with a wrong part" 1 timeout 60 "$VMRUN" test t
has "is told" "a case has no part 'rnu'"
exits "a folder without tests" 1 timeout 60 "$VMRUN" test "$root/doc"
has "too" "there are no cases"

cat >"$work/t/deep/wrong_test.lua" <<LUA
case "on the emulator" {
  recipe = "$root/examples/network.lua", target = "emulator",
  run = function(t)
    t:equal(t:apply().summary.added, 3)
    t:equal(t:plan().summary.add, 0)
    t:equal(t:destroy().summary.destroyed, 3)
  end,
}
LUA
before=$(find "${TMPDIR:-/tmp}" -maxdepth 1 -name 'vmrun-case-*' | wc -l)
exits "a case on the emulator" 0 timeout 120 "$VMRUN" test t/deep
has "is a real one" "1 passed, 0 failed, 0 skipped"
same "nothing is left of it" "$(find "${TMPDIR:-/tmp}" -maxdepth 1 -name 'vmrun-case-*' | wc -l)" "$before"
