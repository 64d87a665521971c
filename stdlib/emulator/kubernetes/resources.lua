--- What kinds a server has: the built-in ones, from a table below, and those that custom resource definitions add.
local schema = require "emulator.kubernetes.schema"
local value = require "emulator.kubernetes.value"

local Resources = {}
Resources.__index = Resources

-- group/version | Kind | plural | short names | n(amespaced) or c(luster) | categories | subresources | fields
local builtin = [[
v1|Binding|bindings||n||create|target=ObjectReference
v1|ComponentStatus|componentstatuses|cs|c||read|conditions=[type:Condition]
v1|ConfigMap|configmaps|cm|n|||data={s} binaryData={y} immutable=b
v1|Endpoints|endpoints|ep|n|||subsets=[EndpointSubset]
v1|Event|events|ev|n|||involvedObject!=ObjectReference reason=s message=s source=EventSource firstTimestamp=t lastTimestamp=t count=i type=s eventTime=t series=EventSeries action=s related=ObjectReference reportingComponent=s reportingInstance=s
v1|LimitRange|limitranges|limits|n|||spec=LimitRangeSpec
v1|Namespace|namespaces|ns|c||status,finalize|spec=NamespaceSpec status=NamespaceStatus
v1|Node|nodes|no|c||status,proxy|spec=NodeSpec status=NodeStatus
v1|PersistentVolumeClaim|persistentvolumeclaims|pvc|n||status|spec=PersistentVolumeClaimSpec status=PersistentVolumeClaimStatus
v1|PersistentVolume|persistentvolumes|pv|c||status|spec=PersistentVolumeSpec status=PersistentVolumeStatus
v1|Pod|pods|po|n|all|status,log,eviction,binding,exec,attach,portforward,proxy,ephemeralcontainers|spec=PodSpec status=PodStatus
v1|PodTemplate|podtemplates||n|||template=PodTemplateSpec
v1|ReplicationController|replicationcontrollers|rc|n|all|status,scale|spec=ReplicationControllerSpec status=ScaledStatus
v1|ResourceQuota|resourcequotas|quota|n||status|spec=ResourceQuotaSpec status=ResourceQuotaStatus
v1|Secret|secrets||n|||data={y} stringData={s} type=s immutable=b
v1|ServiceAccount|serviceaccounts|sa|n||token|secrets=[name:ObjectReference] imagePullSecrets=[LocalObjectReference] automountServiceAccountToken=b
v1|Service|services|svc|n|all|status,proxy|spec=ServiceSpec status=ServiceStatus
apps/v1|ControllerRevision|controllerrevisions||n|||data=? revision=i
apps/v1|DaemonSet|daemonsets|ds|n|all|status|spec=DaemonSetSpec status=DaemonSetStatus
apps/v1|Deployment|deployments|deploy|n|all|status,scale|spec=DeploymentSpec status=DeploymentStatus
apps/v1|ReplicaSet|replicasets|rs|n|all|status,scale|spec=ReplicaSetSpec status=ScaledStatus
apps/v1|StatefulSet|statefulsets|sts|n|all|status,scale|spec=StatefulSetSpec status=StatefulSetStatus
authentication.k8s.io/v1|TokenReview|tokenreviews||c||create|spec=TokenReviewSpec status=TokenReviewStatus
authentication.k8s.io/v1|SelfSubjectReview|selfsubjectreviews||c||create|status=?
authorization.k8s.io/v1|LocalSubjectAccessReview|localsubjectaccessreviews||n||create|spec=SubjectAccessReviewSpec status=SubjectAccessReviewStatus
authorization.k8s.io/v1|SelfSubjectAccessReview|selfsubjectaccessreviews||c||create|spec=SelfSubjectAccessReviewSpec status=SubjectAccessReviewStatus
authorization.k8s.io/v1|SelfSubjectRulesReview|selfsubjectrulesreviews||c||create|spec=SelfSubjectRulesReviewSpec status=SubjectRulesReviewStatus
authorization.k8s.io/v1|SubjectAccessReview|subjectaccessreviews||c||create|spec=SubjectAccessReviewSpec status=SubjectAccessReviewStatus
autoscaling/v2|HorizontalPodAutoscaler|horizontalpodautoscalers|hpa|n|all|status|spec=HorizontalPodAutoscalerSpec status=HorizontalPodAutoscalerStatus
batch/v1|CronJob|cronjobs|cj|n|all|status|spec=CronJobSpec status=CronJobStatus
batch/v1|Job|jobs||n|all|status|spec=JobSpec status=JobStatus
certificates.k8s.io/v1|CertificateSigningRequest|certificatesigningrequests|csr|c||status,approval|spec=CertificateSigningRequestSpec status=CertificateSigningRequestStatus
coordination.k8s.io/v1|Lease|leases||n|||spec=LeaseSpec
discovery.k8s.io/v1|EndpointSlice|endpointslices||n|||addressType=s endpoints=[Endpoint] ports=[EndpointPort]
networking.k8s.io/v1|IngressClass|ingressclasses||c|||spec=IngressClassSpec
networking.k8s.io/v1|Ingress|ingresses|ing|n||status|spec=IngressSpec status=IngressStatus
networking.k8s.io/v1|NetworkPolicy|networkpolicies|netpol|n|||spec=NetworkPolicySpec
node.k8s.io/v1|RuntimeClass|runtimeclasses||c|||handler=s overhead=Overhead scheduling=Scheduling
policy/v1|PodDisruptionBudget|poddisruptionbudgets|pdb|n||status|spec=PodDisruptionBudgetSpec status=PodDisruptionBudgetStatus
rbac.authorization.k8s.io/v1|ClusterRoleBinding|clusterrolebindings||c|||subjects=[Subject] roleRef!=@RoleRef
rbac.authorization.k8s.io/v1|ClusterRole|clusterroles||c|||rules=[PolicyRule] aggregationRule=@AggregationRule
rbac.authorization.k8s.io/v1|RoleBinding|rolebindings||n|||subjects=[Subject] roleRef!=@RoleRef
rbac.authorization.k8s.io/v1|Role|roles||n|||rules=[PolicyRule]
scheduling.k8s.io/v1|PriorityClass|priorityclasses|pc|c|||value=i globalDefault=b description=s preemptionPolicy=s
storage.k8s.io/v1|CSIDriver|csidrivers||c|||spec=CSIDriverSpec
storage.k8s.io/v1|CSINode|csinodes||c|||spec=CSINodeSpec
storage.k8s.io/v1|StorageClass|storageclasses|sc|c|||provisioner=s parameters={s} reclaimPolicy=s mountOptions=[s] allowVolumeExpansion=b volumeBindingMode=s allowedTopologies=[?]
storage.k8s.io/v1|VolumeAttachment|volumeattachments||c||status|spec=VolumeAttachmentSpec status=VolumeAttachmentStatus
admissionregistration.k8s.io/v1|MutatingWebhookConfiguration|mutatingwebhookconfigurations||c|api-extensions||webhooks=[name:Webhook]
admissionregistration.k8s.io/v1|ValidatingWebhookConfiguration|validatingwebhookconfigurations||c|api-extensions||webhooks=[name:Webhook]
apiextensions.k8s.io/v1|CustomResourceDefinition|customresourcedefinitions|crd,crds|c|api-extensions|status|spec=CustomResourceDefinitionSpec status=CustomResourceDefinitionStatus
apiregistration.k8s.io/v1|APIService|apiservices||c|api-extensions|status|spec=APIServiceSpec status=APIServiceStatus
]]

-- Older versions of the same kinds that clients still ask for; the shapes are the same.
local aliases = { ["policy/v1beta1"] = { "policy", "v1", "poddisruptionbudgets" } }

local singular = { endpoints = "endpoints" }

local all_verbs = { "create", "delete", "deletecollection", "get", "list", "patch", "update", "watch" }
local no_collection = { services = true, namespaces = true }

-- kinds that count their generations
local generation = { deployments = true, replicasets = true, daemonsets = true, statefulsets = true, jobs = true,
  cronjobs = true, ingresses = true, networkpolicies = true, poddisruptionbudgets = true, replicationcontrollers = true,
  customresourcedefinitions = true, mutatingwebhookconfigurations = true, validatingwebhookconfigurations = true,
  horizontalpodautoscalers = true, pods = true }

local function words(text)
  local out = {}
  for w in (text or ""):gmatch("[^,]+") do out[#out + 1] = w end
  return out
end

local function set(list)
  local out = {}
  for _, w in ipairs(list) do out[w] = true end
  return out
end

local templates

local function parse_builtin()
  templates = {}
  for line in builtin:gmatch("[^\n]+") do
    local gv, kind, plural, short, scope, categories, subs, fields =
      line:match("^([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|(.*)$")
    local group, version = gv:match("^(.+)/(.+)$")
    local subresources = set(words(subs))
    local verbs = all_verbs
    if subresources.create then verbs = { "create" }
    elseif subresources.read then verbs = { "get", "list" }
    elseif no_collection[plural] then verbs = { "create", "delete", "get", "list", "patch", "update", "watch" } end
    subresources.create, subresources.read = nil, nil
    templates[#templates + 1] = {
      group = group or "", version = version or gv, kind = kind, plural = plural, singular = singular[plural] or kind:lower(),
      short = words(short), namespaced = scope == "n", categories = words(categories), subresources = subresources,
      verbs = verbs, schema = schema.object(kind, fields), key = (group or "") .. "/" .. plural,
      generation = generation[plural], list_kind = kind .. "List", builtin = true, storage = version or gv,
    }
  end
end

local function api_version(res)
  return res.group == "" and res.version or res.group .. "/" .. res.version
end

--- The registry of one cluster.
function Resources.new()
  if not templates then parse_builtin() end
  local self = setmetatable({ by_gv = {}, groups = {}, by_kind = {}, changes = 0, custom = {} }, Resources)
  for _, template in ipairs(templates) do self:add(template) end
  for gv, target in pairs(aliases) do
    local group, version = gv:match("^(.+)/(.+)$")
    local base = self:find(target[1], target[2], target[3])
    self:add(setmetatable({ version = version, group = group, api_version = gv }, { __index = base }))
  end
  return self
end

--- Adds a kind: a table as made from the text above.
function Resources:add(res)
  local gv = api_version(res)
  res.api_version = gv
  local list = self.by_gv[gv]
  if not list then
    list = { group = res.group, version = res.version, by_plural = {}, order = {} }
    self.by_gv[gv] = list
    local group = value.find(self.groups, "name", res.group)
    if not group then
      group = { name = res.group, versions = {} }
      self.groups[#self.groups + 1] = group
    end
    group.versions[#group.versions + 1] = res.version
    table.sort(group.versions, Resources.before)
  end
  if not list.by_plural[res.plural] then list.order[#list.order + 1] = res.plural end
  list.by_plural[res.plural] = res
  self.by_kind[gv .. "/" .. res.kind] = res
  self.changes = self.changes + 1
end

--- Removes a kind that a definition had added.
function Resources:remove(res)
  local gv = api_version(res)
  local list = self.by_gv[gv]
  if not list then return end
  list.by_plural[res.plural] = nil
  self.by_kind[gv .. "/" .. res.kind] = nil
  list.order = value.filter(list.order, function(p) return p ~= res.plural end)
  if #list.order == 0 then
    self.by_gv[gv] = nil
    local group, at = value.find(self.groups, "name", res.group)
    for i, version in ipairs(group.versions) do
      if version == res.version then table.remove(group.versions, i); break end
    end
    if #group.versions == 0 then table.remove(self.groups, at) end
  end
  self.changes = self.changes + 1
end

local function rank(version)
  local major, stage, minor = version:match("^v(%d+)(%a*)(%d*)$")
  if not major then return 0, 0, 0 end
  return stage == "" and 3 or stage == "beta" and 2 or 1, tonumber(major), tonumber(minor) or 0
end

--- Does version a come before b in order of preference (v2, v1, v1beta2, v1beta1, v1alpha1)?
function Resources.before(a, b)
  local x, y, z = rank(a)
  local p, q, r = rank(b)
  if x ~= p then return x > p end
  if y ~= q then return y > q end
  if z ~= r then return z > r end
  return a < b
end

--- The resource of a path, or nil.
function Resources:find(group, version, plural)
  local list = self.by_gv[group == "" and version or group .. "/" .. version]
  return list and list.by_plural[plural]
end

--- The resource of an apiVersion and kind, or nil.
function Resources:of(api_version_, kind)
  return self.by_kind[(api_version_ or "") .. "/" .. (kind or "")]
end

--- The preferred resource of a storage key ("apps/deployments").
function Resources:by_key(key)
  local group, plural = key:match("^(.*)/([^/]+)$")
  local g = value.find(self.groups, "name", group)
  for _, version in ipairs(g and g.versions or {}) do
    local res = self:find(group, version, plural)
    if res then return res end
  end
end

--- All kinds, each once (its preferred version).
function Resources:each()
  local seen, out = {}, {}
  for _, group in ipairs(self.groups) do
    for _, version in ipairs(group.versions) do
      local list = self.by_gv[group.name == "" and version or group.name .. "/" .. version]
      for _, plural in ipairs(list and list.order or {}) do
        local res = list.by_plural[plural]
        if res and not seen[res.key] then
          seen[res.key] = true
          out[#out + 1] = res
        end
      end
    end
  end
  return out
end

--- The kinds of one version of a custom resource definition.
function Resources.custom(crd, version)
  local names = crd.spec.names
  local subs = version.subresources or {}
  local js = version.schema and version.schema.openAPIV3Schema
  return {
    group = crd.spec.group, version = version.name, kind = names.kind, plural = names.plural,
    singular = names.singular or names.kind:lower(), short = names.shortNames or {}, categories = names.categories or {},
    namespaced = crd.spec.scope == "Namespaced", verbs = all_verbs, list_kind = names.listKind or names.kind .. "List",
    subresources = { status = subs.status ~= nil or nil, scale = subs.scale }, schema = schema.from_openapi(js or
      { type = "object", ["x-kubernetes-preserve-unknown-fields"] = true }, true),
    openapi = js, key = crd.spec.group .. "/" .. names.plural, generation = true, custom = crd.metadata.name,
    columns = version.additionalPrinterColumns, deprecated = version.deprecated, warning = version.deprecationWarning,
  }
end

--- Makes the registry agree with a definition (served) or its end (crd = nil).
function Resources:define(name, crd)
  for _, res in ipairs(self.custom[name] or {}) do self:remove(res) end
  self.custom[name] = nil
  if not crd then return end
  local added = {}
  for _, version in ipairs(crd.spec.versions or {}) do
    if version.served then
      local res = Resources.custom(crd, version)
      self:add(res)
      added[#added + 1] = res
    end
  end
  self.custom[name] = added
end

return Resources
