--- Jobs and cron jobs.
local json = require "json"
local task = require "task"
local value = require "emulator.kubernetes.value"
local keys = require "emulator.kubernetes.controllers.keys"
local pods = require "emulator.kubernetes.controllers.pods"

local JOBS, CRONJOBS, KCM = "batch/jobs", "batch/cronjobs", "kube-controller-manager"

local job = { name = "job", component = KCM, all = keys.each(JOBS),
  watches = { [JOBS] = keys.itself, ["/pods"] = keys.owner "Job" } }

local function finished(o)
  for _, c in ipairs(value.get(o, "status", "conditions") or {}) do
    if (c.type == "Complete" or c.type == "Failed") and c.status == "True" then return c.type end
  end
end

local function adopt_labels(cluster, o)
  if o.spec.selector then return o end
  return cluster:modify(JOBS, o.metadata.namespace, o.metadata.name, function(new)
    local uid = new.metadata.uid
    local labels = { ["batch.kubernetes.io/controller-uid"] = uid, ["batch.kubernetes.io/job-name"] = new.metadata.name,
      ["controller-uid"] = uid, ["job-name"] = new.metadata.name }
    new.spec.selector = { matchLabels = { ["batch.kubernetes.io/controller-uid"] = uid } }
    new.spec.template.metadata = new.spec.template.metadata or {}
    new.spec.template.metadata.labels = new.spec.template.metadata.labels or {}
    for k, v in pairs(labels) do new.spec.template.metadata.labels[k] = v end
  end)
end

function job.reconcile(cluster, namespace, name, manager)
  local o = cluster.store:get(JOBS, namespace, name)
  if not o or o.metadata.deletionTimestamp then return end
  local done = finished(o)
  if done then
    local ttl = o.spec.ttlSecondsAfterFinished
    local at = ttl and value.seconds(value.get(o, "status", "completionTime"))
    if at then
      local left = at + ttl - task.time()
      if left <= 0 then cluster.objects:delete(cluster:res(JOBS), namespace, name, { policy = "Background" })
      else manager:after(left, job, namespace, name, left) end
    end
    return
  end
  o = adopt_labels(cluster, o)
  local active, succeeded, failures, ready = 0, 0, 0, 0
  for _, p in ipairs(pods.owned(cluster, "/pods", o)) do
    local phase = value.get(p, "status", "phase")
    if phase == "Succeeded" then succeeded = succeeded + 1
    elseif phase == "Failed" then failures = failures + 1
    elseif pods.active(p) then
      active = active + 1
      if pods.ready(p) then ready = ready + 1 end
    end
  end
  local wanted = o.spec.completions or 1
  local failed = failures > (o.spec.backoffLimit or 6)
  local complete = succeeded >= wanted
  if not o.spec.suspend and not failed and not complete then
    for _ = active + 1, math.min(o.spec.parallelism or 1, wanted - succeeded) do
      if pods.make(cluster, o, o.spec.template, { component = "job-controller" }) then active = active + 1 end
    end
  end
  cluster:status(JOBS, namespace, name, function(new)
    local s = new.status or {}
    local conditions = value.copy(s.conditions or json.array {})
    new.status = { active = active > 0 and active or nil, succeeded = succeeded > 0 and succeeded or nil,
      failed = failures > 0 and failures or nil, ready = ready, startTime = s.startTime or value.time(),
      terminating = 0, uncountedTerminatedPods = {} }
    if complete then
      new.status.completionTime = value.time()
      pods.condition(conditions, "SuccessCriteriaMet", "True", "CompletionsReached", "Reached expected number of succeeded pods")
      pods.condition(conditions, "Complete", "True", "CompletionsReached", "Reached expected number of succeeded pods")
      cluster:event(new, "Normal", "Completed", "Job completed", "job-controller")
    elseif failed then
      pods.condition(conditions, "Failed", "True", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
      cluster:event(new, "Warning", "BackoffLimitExceeded", "Job has reached the specified backoff limit", "job-controller")
    end
    if #conditions > 0 then new.status.conditions = conditions end
  end)
end

local cronjob = { name = "cronjob", component = KCM, all = keys.each(CRONJOBS),
  watches = { [CRONJOBS] = keys.itself, [JOBS] = keys.owner "CronJob" } }

local macros = { ["@hourly"] = "0 * * * *", ["@daily"] = "0 0 * * *", ["@midnight"] = "0 0 * * *", ["@weekly"] = "0 0 * * 0",
  ["@monthly"] = "0 0 1 * *", ["@yearly"] = "0 0 1 1 *", ["@annually"] = "0 0 1 1 *" }

local function in_field(text, n, low, high)
  for part in text:gmatch("[^,]+") do
    local range, step = part:match("^(.-)/(%d+)$")
    range, step = range or part, tonumber(step) or 1
    local a, b = range:match("^(%d+)%-(%d+)$")
    if range == "*" or range == "?" then a, b = low, high elseif not a then
      a = tonumber(range)
      b = part:find("/", 1, true) and high or a
    end
    a, b = tonumber(a), tonumber(b)
    if a and n >= a and n <= b and (n - a) % step == 0 then return true end
  end
  return false
end

local function due(schedule, t)
  local f = {}
  for w in (macros[schedule] or schedule):gmatch("%S+") do f[#f + 1] = w end
  if #f ~= 5 then return false end
  local d = os.date("!*t", t)
  if not (in_field(f[1], d.min, 0, 59) and in_field(f[2], d.hour, 0, 23) and in_field(f[4], d.month, 1, 12)) then return false end
  local day, week = in_field(f[3], d.day, 1, 31), in_field(f[5], d.wday - 1, 0, 7) or d.wday == 1 and in_field(f[5], 7, 0, 7)
  if f[3] ~= "*" and f[5] ~= "*" then return day or week end
  return day and week
end

local function start(cluster, o, minute)
  local name = ("%s-%d"):format(o.metadata.name, minute // 60)
  if cluster.store:get(JOBS, o.metadata.namespace, name) then return end
  local template = o.spec.jobTemplate
  cluster:try(function()
    cluster.objects:create(cluster:res(JOBS), { metadata = { name = name, namespace = o.metadata.namespace,
        labels = value.copy(value.get(template, "metadata", "labels")), annotations = value.copy(value.get(template, "metadata", "annotations")),
        ownerReferences = json.array { pods.reference(o) } }, spec = value.copy(template.spec) },
      { namespace = o.metadata.namespace, manager = KCM })
  end)
  cluster:event(o, "Normal", "SuccessfulCreate", "Created job " .. name, "cronjob-controller")
end

function cronjob.reconcile(cluster, namespace, name, manager)
  local o = cluster.store:get(CRONJOBS, namespace, name)
  if not o or o.metadata.deletionTimestamp then return end
  local now = math.floor(task.time())
  local minute = now - now % 60
  local running, done = json.array {}, {}
  for _, j in ipairs(pods.owned(cluster, JOBS, o)) do
    if finished(j) then done[#done + 1] = j else
      running[#running + 1] = { apiVersion = j.apiVersion, kind = j.kind, namespace = namespace, name = j.metadata.name, uid = j.metadata.uid }
    end
  end
  local last = value.seconds(value.get(o, "status", "lastScheduleTime")) or value.seconds(o.metadata.creationTimestamp)
  local started
  if not o.spec.suspend and minute > last - last % 60 and due(o.spec.schedule, minute)
    and not (o.spec.concurrencyPolicy == "Forbid" and #running > 0) then
    start(cluster, o, minute)
    started = value.time(minute)
  end
  table.sort(done, function(a, b) return a.metadata.creationTimestamp < b.metadata.creationTimestamp end)
  for i = 1, #done - (o.spec.successfulJobsHistoryLimit or 3) do
    cluster.objects:delete(cluster:res(JOBS), namespace, done[i].metadata.name, { policy = "Background" })
  end
  cluster:status(CRONJOBS, namespace, name, function(new)
    new.status = new.status or {}
    new.status.active = #running > 0 and running or nil
    new.status.lastScheduleTime = started or new.status.lastScheduleTime
  end)
  local wait = minute + 60 - task.time()
  manager:after(wait, cronjob, namespace, name, wait)
end

return { job, cronjob }
