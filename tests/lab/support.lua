--- What the cases of the lab share: namespaces and objects of their own, and how a failure is looked at.
local client = require "kubernetes.client"
local json, objects, task = require "json", require "kubernetes.objects", require "task"

-- cases: a list of { name =, fn = }, in the order of their files.
local M = { cases = {} }

--- Adds a case: fn(t, lab) runs once for each lab.
function M.case(name, fn) M.cases[#M.cases + 1] = { name = name, fn = fn } end

local spaces = 0

-- A namespace for one test; a test leaves it behind, since the servers end with the run.
function M.space(api)
  spaces = spaces + 1
  local name = ("t-%d"):format(spaces)
  api:request("POST", "/api/v1/namespaces", { apiVersion = "v1", kind = "Namespace", metadata = { name = name } })
  return name
end

function M.connect(parts, patience)
  local api = client.new(parts)
  api.patience = patience or 15
  return api
end

function M.config_map(namespace, name, data, labels)
  return { apiVersion = "v1", kind = "ConfigMap", metadata = { name = name, namespace = namespace, labels = labels },
    data = data }
end

function M.version(object) return object.metadata.resourceVersion end

function M.get_map(api, namespace, name) return api:get("v1", "ConfigMap", namespace, name) end

function M.deployment(namespace, name, change)
  local labels = { app = name }
  local o = { apiVersion = "apps/v1", kind = "Deployment", metadata = { name = name, namespace = namespace },
    spec = { replicas = 2, selector = { matchLabels = labels }, template = { metadata = { labels = labels },
      spec = { terminationGracePeriodSeconds = 0, containers = json.array { { name = "main",
        image = "example.test/main:1" } } } } } }
  if change then change(o) end
  return o
end

local groups = 0

-- A definition of a group of its own, namespaced, with a status and a checked field.
function M.definition(change)
  groups = groups + 1
  local group = ("g%d.lab.test"):format(groups)
  local o = { apiVersion = "apiextensions.k8s.io/v1", kind = "CustomResourceDefinition", metadata = { name = "widgets."
    .. group },
    spec = { group = group, scope = "Namespaced", names = { plural = "widgets", singular = "widget", kind = "Widget",
      listKind = "WidgetList" },
      versions = json.array { { name = "v1", served = true, storage = true, subresources = { status = {} },
        schema = { openAPIV3Schema = {
        type = "object", properties = {
          spec = { type = "object", properties = { size = { type = "integer", minimum = 1 }, color = { type = "string" } } },
          status = { type = "object", ["x-kubernetes-preserve-unknown-fields"] = true } } } } } } } }
  if change then change(o) end
  return o, group .. "/v1"
end

function M.widget(api_version, namespace, name, spec)
  return { apiVersion = api_version, kind = "Widget", metadata = { name = name, namespace = namespace }, spec = spec }
end

-- What a person sees of a failure.
function M.failure(t, part, fn, ...)
  local err = t.fails(part, fn, ...)
  t.ok(type(err) == "table" and err.code, "it is a failure of its own, with a code: " .. tostring(err))
  return err
end

--- A ServiceAccount with all rights in a namespace; returns a function that gives a token of it.
function M.robot(api, ns)
  local account = { apiVersion = "v1", kind = "ServiceAccount", metadata = { name = "robot", namespace = ns } }
  objects.apply(api, { account, { apiVersion = "rbac.authorization.k8s.io/v1", kind = "RoleBinding", metadata = { name = "robot",
    namespace = ns },
    roleRef = { apiGroup = "rbac.authorization.k8s.io", kind = "ClusterRole", name = "cluster-admin" },
    subjects = json.array { { kind = "ServiceAccount", name = "robot", namespace = ns } } } })
  return function(seconds)
    return api:request("POST", api:path_of(account) .. "/token", { apiVersion = "authentication.k8s.io/v1", kind = "TokenRequest",
      spec = { expirationSeconds = seconds or 600, audiences = json.array {} } }).status.token
  end
end

--- Asks until it is so, for at most 20 seconds; the last answers.
function M.eventually(fn)
  local ends = task.now() + 20
  while true do
    local answer = table.pack(fn())
    if answer[1] or task.now() > ends then return table.unpack(answer, 1, answer.n) end
    task.sleep(0.05)
  end
end

return M
