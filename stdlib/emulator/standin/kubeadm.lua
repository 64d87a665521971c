--- kubeadm on an emulated machine.
local crypto = require "crypto"
local json = require "json"
local world = require "emulator.world"
local config = require "emulator.kubeadm.config"
local files = require "emulator.kubeadm.files"
local layout = require "emulator.kubeadm.layout"
local options = require "emulator.kubeadm.options"
local pki = require "emulator.kubeadm.pki"
local release = require "emulator.kubeadm.release"

local Context = {}
Context.__index = Context

function Context:out(text) self.call:out(text) end
function Context:err(text) self.call:err(text) end
function Context:say(line) self.call:out(line .. "\n") end
function Context:verbose() return (tonumber(self.flags.v) or 0) > 0 end

--- Ends the command with a message and an exit code.
function Context:fail(message, code) error({ kubeadm = true, message = message, code = code or 1 }, 0) end

local commands = {}

function commands.version(ctx)
  local major, minor = ctx.version:match("^v(%d+)%.(%d+)")
  if ctx.flags.output == "short" then
    ctx:say(ctx.version)
  elseif ctx.flags.output == "json" then
    ctx:say(json.encode({ clientVersion = { major = major, minor = minor, gitVersion = ctx.version, gitTreeState = "clean", platform = "linux/amd64" } },
      { indent = 2, sort = true }))
  else
    ctx:say(('kubeadm version: &version.Info{Major:"%s", Minor:"%s", GitVersion:"%s", GitCommit:"", GitTreeState:"clean", BuildDate:"", GoVersion:"", '
      .. 'Compiler:"gc", Platform:"linux/amd64"}'):format(major, minor, ctx.version))
  end
  return 0
end

local function image_config(ctx)
  local c = config.init(ctx)
  return release.image_list(c.cluster.kubernetesVersion, c.cluster.imageRepository)
end

function commands.config(ctx)
  local a, b = ctx.flags.words[2], ctx.flags.words[3]
  if a == "images" and (b == "list" or b == "pull") then
    for _, image in ipairs(image_config(ctx)) do ctx:say(b == "list" and image or "[config/images] Pulled " .. image) end
    return 0
  elseif a == "print" then
    local yaml = require "yaml"
    local apis = release.apis(ctx.minor)
    local api = "kubeadm.k8s.io/" .. apis[#apis]
    ctx:out(yaml.encode { apiVersion = api, kind = b == "join-defaults" and "JoinConfiguration" or "InitConfiguration" })
    return 0
  end
  ctx:fail(('unknown command "%s" for "kubeadm config"'):format(a or ""))
end

function commands.init(ctx)
  local init = require "emulator.kubeadm.init"
  if ctx.flags.words[2] == "phase" then return init.phase(ctx, ctx.flags.words[3]) end
  return init.run(ctx)
end

function commands.join(ctx) return require("emulator.kubeadm.join").run(ctx) end
function commands.token(ctx) return require("emulator.kubeadm.tokens").run(ctx) end
function commands.certs(ctx) return require("emulator.kubeadm.certs").run(ctx) end
function commands.reset(ctx) return require("emulator.kubeadm.reset").run(ctx) end
function commands.upgrade(ctx) return require("emulator.kubeadm.upgrade").run(ctx) end

function commands.kubeconfig(ctx)
  if ctx.minor < 22 then ctx:fail 'unknown command "kubeconfig" for "kubeadm"' end
  if ctx.flags.words[2] ~= "user" then ctx:fail('missing subcommand; "kubeconfig" is not meant to be run on its own') end
  local name = ctx.flags["client-name"]
  if not name then ctx:fail 'required flag(s) "client-name" not set' end
  local ca = pki.load(ctx.machine, "ca")
  if not ca then ctx:fail "couldn't load CA certificate: open /etc/kubernetes/pki/ca.crt: no such file or directory" end
  local c = config.init(ctx)
  local host, port = config.endpoint(c)
  local user = ctx.flags.token and { token = ctx.flags.token }
    or crypto.x509_issue { ca = ca, cn = name, o = ctx.flags.org and { ctx.flags.org } or {}, days = pki.leaf_days(c), usage = { "client" } }
  ctx:out(layout.kubeconfig(("https://%s:%d"):format(host, port), ca.cert, c.cluster.clusterName, name, user))
  return 0
end

local function version_of(machine)
  local v = machine:package "kubeadm"
  return v and "v" .. v:match("^[%d.]+")
end

return function(machine, call)
  local argv = table.move(call.argv, 2, #call.argv, 1, {})
  local ctx = setmetatable({ machine = machine, call = call, world = world, kubernetes = world.kubernetes, files = files,
    version = version_of(machine) or "v1.30.0", flags = { words = {}, given = {} } }, Context)
  ctx.minor = release.minor(ctx.version)
  local ok, result = pcall(function()
    local flags, why = options.parse(argv)
    if not flags then ctx:fail(why) end
    ctx.flags = flags
    local word = flags.words[1]
    if not word then
      ctx:say("kubeadm: easily bootstrap a secure Kubernetes cluster (a stand-in of the emulator)")
      return 0
    end
    local command = commands[word]
    if not command then ctx:fail(('unknown command "%s" for "kubeadm"'):format(word)) end
    return command(ctx)
  end)
  if ok then return result or 0 end
  if type(result) == "table" and result.kubeadm then
    call:err(result.message .. "\nTo see the stack trace of this error execute with --v=5 or higher\n")
    return result.code
  end
  error(result, 0)
end
