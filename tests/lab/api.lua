--- vmrun lua api.lua [PART ...]: the project's client, kinds and recipes against a real kube-apiserver and against the
-- emulator's, the same cases for both. Arguments: parts of names of cases. The last line says how many passed.
local HERE = arg[0]:match "^(.*)/[^/]*$" or "."
local wanted = table.move(arg, 1, #arg, 1, {})
for i = #arg, 1, -1 do arg[i] = nil end -- tap.lua would take them for whole names
local test = dofile(HERE .. "/../lua/tap.lua")
local Kubelet = require "kubelet"
local support, task = require "support", require "task"

test.timeout = 150

-- Where the two are not the same, and why they stay so: by the case, which asks `lab.name`.
local DIFFERENCES = {
  { "lists with keys are merged by them",
    "1.20 wants `protocol` of a Service's port in an apply; servers since 1.23, as the emulator, know its default" },
  { "Flux, whole",
    "1.20 writes an object with quantities that it stores in another form (1000m as 1) anew on each apply, with another time;"
    .. " newer servers do not. objects.stale leaves it alone on both" },
  { "429: a budget that forbids an eviction", "1.20 has policy/v1beta1 only, and the emulator, as a server of today, policy/v1" },
}

local FILES = { "apply", "wait", "watch", "refusal", "credential", "recipe", "flux" }

local function is_wanted(name)
  for _, part in ipairs(wanted) do
    if name:find(part, 1, true) then return true end
  end
  return #wanted == 0
end

-- What a run lacks is said.
local process = require "process"
if not process.env "VMRUN_FLUX" or process.env "VMRUN_FLUX" == "" then
  test("Flux's manifests", function(t)
    t.skip "VMRUN_FLUX names no folder"
  end)
end

for _, file in ipairs(FILES) do require("case_" .. file) end
local cases = {}
for _, case in ipairs(support.cases) do if is_wanted(case.name) then cases[#cases + 1] = case end end
assert(#cases > 0, "no case has such a name")

for _, kind in ipairs { "emulated", "api_server" } do
  local began = task.now()
  local lab <close> = require(kind).start { controllers = true }
  local _ <close> = Kubelet.start(lab:parts(), "node-1")
  test.counted = kind ~= "emulated"
  print(("# %s: Kubernetes %s, up in %.1f s"):format(lab.name, lab:version(), task.now() - began))
  for _, case in ipairs(cases) do
    test(("%s: %s"):format(lab.name, case.name), function(t) case.fn(t, lab) end)
  end
end

for _, difference in ipairs(DIFFERENCES) do print(("# differs: %s: %s"):format(difference[1], difference[2])) end
print(("lab-api: %d passed, %d failed, %d skipped"):format(test.passed, test.failed, test.skipped))
io.stdout:flush()
os.exit(test.failed == 0 and test.passed > 0 and 0 or 1)
