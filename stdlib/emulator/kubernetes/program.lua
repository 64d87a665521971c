--- Programs that do something in the containers of the emulator: as the real ones they are who their pod's service account is, reach
-- the API from their node over TLS, and see what their pod mounts. `programs/NAME.lua` is `{ crash =, look =, concerns =, every = }`:
-- `crash(self)` says why it would end at once (nil: it would not); `look(self)` does what there is to do, gives whether all is well, or
-- nil and why not, and is called again when an event of the cluster `concerns(self, event)` it, and `every` so many nominal seconds.
local crypto, json, log, task = require "crypto", require "json", require "log", require "task"
local authentication = require "emulator.kubernetes.authentication"
local Client = require "emulator.kubernetes.client"
local heartbeat = require "emulator.kubernetes.heartbeat"
local value = require "emulator.kubernetes.value"

-- What an image's name ends in -> the page.
local PAGES = { ["azure-cloud-node-manager"] = "cloud_node_manager", ["azure-cloud-controller-manager"] = "cloud_controller_manager" }

local AGAIN, SOONEST = 5, 0.25 -- after a failure: nominal seconds, and the least that these are in truth

local Program = {}
Program.__index = Program

local function page_of(image)
  local name = PAGES[image:gsub("@.*$", ""):gsub(":[^:/]*$", ""):match("[^/]+$")]
  return name and require("emulator.kubernetes.programs." .. name)
end

local function new(kubelet, pod, container)
  local page = page_of(container.image)
  return page and setmetatable({ page = page, kubelet = kubelet, cluster = kubelet.cluster, world = kubelet.world, pod = pod,
    container = container, name = container.name }, Program)
end

-- A variable of the container: a text, or a field of its pod.
local function variable_of(self, name)
  local entry, steps = value.find(self.container.env, "name", name) or {}, {}
  for step in (value.get(entry, "valueFrom", "fieldRef", "fieldPath") or ""):gmatch("[^.]+") do steps[#steps + 1] = step end
  return entry.value or steps[1] and value.get(self.pod, table.unpack(steps)) or ""
end

--- The value of an argument `--NAME=`, or nil; `$(NAME)` of the container's own variables is replaced.
function Program:argument(name)
  for _, word in ipairs(self.container.args or {}) do
    local found = word:match("^%-%-" .. name:gsub("%-", "%%-") .. "=(.*)$")
    if found then return (found:gsub("%$%((.-)%)", function(variable) return variable_of(self, variable) end)) end
  end
end

--- A file that the container has mounted of a Secret; nil where there is none.
function Program:file(path)
  for _, mount in ipairs(self.container.volumeMounts or {}) do
    local rest = path:sub(1, #mount.mountPath + 1) == mount.mountPath .. "/" and path:sub(#mount.mountPath + 2)
    local volume = rest and value.find(self.pod.spec.volumes, "name", mount.name)
    if volume and volume.secret then
      local key = rest
      for _, item in ipairs(volume.secret.items or {}) do
        if item.path == rest then key = item.key end
      end
      local secret = self.cluster.store:get("/secrets", self.pod.metadata.namespace, volume.secret.secretName)
      local data = secret and (secret.data or {})[key]
      return data and crypto.unbase64(data)
    end
  end
end

--- Writes a line of the container's log; the same one is not said twice on end.
function Program:say(format, ...)
  local text = format:format(...)
  if self.said == text then return end
  self.said = text
  self.kubelet:say(self.pod, self.name, text)
end

--- A client of the API, as the pod's service account.
function Program:api()
  local own, why = Client.from_kubeconfig(self.world, self.kubelet.machine, "/etc/kubernetes/kubelet.conf", self.name)
  if not own then return nil, why end
  local account = self.cluster.store:get("/serviceaccounts", self.pod.metadata.namespace, self.pod.spec.serviceAccountName or "default")
  if not account then return nil, "the service account is gone" end
  return Client.new(self.world, self.kubelet.machine, { server = own.options.server, ca = own.options.ca, agent = self.name,
    token = authentication.issue(self.cluster, account, { pod = self.pod }) })
end

--- What the machine's metadata service answers to a path: a table, or nil and why.
function Program:metadata(path)
  local imds = require "emulator.imds"
  local query = {}
  for key, item in (path:match("%?(.*)$") or ""):gmatch("([^&=]+)=([^&]*)") do query[key] = item end
  local answer = imds.handle { method = "GET", path = ("/machine%s/metadata/%s"):format(self.kubelet.machine.id, (path:gsub("%?.*$", ""))),
    headers = { metadata = "true" }, query = query }
  if answer.status ~= 200 then
    return nil, ("failure of getting metadata: %d %s"):format(answer.status, answer.json.error_description or answer.json.error)
  end
  return answer.json
end

-- Lives as long as the pod. What happens during a look is looked at next.
local function run(self)
  local changed, page, factor = task.event(), self.page, self.world.clock.factor
  local unsubscribe = self.cluster:subscribe(function(event) if page.concerns(self, event) then changed:set() end end)
  local guard <close> = setmetatable({}, { __close = unsubscribe })
  while true do
    changed:clear()
    local ok, why = page.look(self)
    if not ok then self:say("%s", why) end
    changed:wait(ok and math.max(page.every / factor, heartbeat.interval(factor)) or math.max(AGAIN / factor, SOONEST))
  end
end

local M = {}

--- Why a container would end at once; nil where it would not, or is none of these programs.
function M.crash(kubelet, pod, container)
  local program = new(kubelet, pod, container)
  return program and program.page.crash and program.page.crash(program)
end

--- Starts the programs of a pod. Returns what ends them when it is closed.
function M.start(kubelet, pod)
  local tasks = {}
  for _, container in ipairs(pod.spec.containers) do
    local program = new(kubelet, pod, container)
    if program then
      tasks[#tasks + 1] = task.spawn(function()
        local ok, why = pcall(run, program)
        if ok or (type(why) == "table" and why.code == "cancelled") then return end
        log.error("emulator: %s: %s", program.name, type(why) == "table" and json.encode(why) or tostring(why))
      end)
    end
  end
  return setmetatable({}, { __close = function()
    for _, running in ipairs(tasks) do running:cancel("the pod ends") end
  end })
end

return M
