--- Flux's manifest by `vmrun apply` and by `kubectl apply --server-side`, in turn, each on a server with nothing in it:
-- first all of it, then once more, when nothing has changed. Prints how many times faster ours is, by the medians.
--     vmrun lua bench.lua VMRUN KUBECTL [RUNS]
local ApiServer = require "api_server"
local flux = require "case_flux"
local fs, process, task = require "fs", require "process", require "task"

local vmrun, kubectl, runs = arg[1], arg[2], tonumber(arg[3]) or 5

local RECIPE = [[
local p = params { kubeconfig = param.secret { env = "LAB_KUBECONFIG" }, manifest = param.file {} }
local kubernetes = use "kubernetes"
kubernetes.manifest "flux" { cluster = kubernetes.cluster "lab" { kubeconfig = p.kubeconfig }, text = p.manifest, wait = false }
]]

-- Seconds of a command that must go well.
local function seconds(argv, env)
  local began = task.now()
  local ended = assert(process.run { argv = argv, env = env, timeout = 120 })
  local took = task.now() - began
  if ended.code ~= 0 then error({ message = table.concat(argv, " ") .. ": " .. ended.stderr:sub(-2000) }, 0) end
  return took, ended.stdout .. ended.stderr
end

local function median(list)
  table.sort(list)
  return list[(#list + 1) // 2]
end

local function home(lab) return { HOME = lab.dir, KUBECONFIG = lab.dir .. "/kubeconfig" } end

-- A server that has come to rest, and kubectl with its cache of what that has, which a person's kubectl has, too.
local function fresh()
  local lab = ApiServer.start()
  assert(fs.write(lab.dir .. "/kubeconfig", lab:kubeconfig(), { mode = tonumber("600", 8) }))
  seconds({ kubectl, "api-resources" }, home(lab))
  lab:settle()
  return lab
end

local function ours(lab, dir)
  local env = { LAB_KUBECONFIG = lab:kubeconfig(), NO_COLOR = "1" }
  local argv = { vmrun, "apply", dir .. "/recipe.lua", "--yes", "--state-dir", lab.dir .. "/state", "manifest=" .. dir
    .. "/flux.yaml" }
  local first = seconds(argv, env)
  local second, said = seconds(argv, env)
  assert(said:find("No changes", 1, true), said)
  return first, second
end

local function theirs(lab, dir)
  local env = home(lab)
  local argv = { kubectl, "apply", "--server-side", "-f", dir .. "/flux.yaml" }
  return seconds(argv, env), (seconds(argv, env))
end

local manifests = flux.manifests()
if not manifests then error({ message = "VMRUN_FLUX names no folder with Flux's manifest" }, 0) end
local dir <close> = setmetatable({ path = assert(fs.mktemp "vmrun-bench-") }, { __close = function(d) fs.remove(d.path,
  { recursive = true }) end })
assert(fs.write(dir.path .. "/recipe.lua", RECIPE))
assert(fs.write(dir.path .. "/flux.yaml", flux.without_rules(manifests[1].text)))
local _, version = seconds { kubectl, "version", "--client" }
print(("%s; %s"):format(manifests[1].name, version:match "[^\n]+"))

local apply, noop = { ours = {}, theirs = {} }, { ours = {}, theirs = {} }
for run = 1, runs do
  for _, who in ipairs(run % 2 == 1 and { "ours", "theirs" } or { "theirs", "ours" }) do
    local lab <close> = fresh()
    apply[who][run], noop[who][run] = (who == "ours" and ours or theirs)(lab, dir.path)
  end
end
for _, what in ipairs { { "apply", apply }, { "noop", noop } } do
  local a, b = median(what[2].ours), median(what[2].theirs)
  print(("%s: vmrun %.0f ms, kubectl %.0f ms (medians of %d)"):format(what[1], a * 1000, b * 1000, runs))
  print(("bench kubernetes.flux.%s %.2f x"):format(what[1], b / a))
end
