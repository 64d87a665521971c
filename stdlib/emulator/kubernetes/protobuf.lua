--- Reading the protobuf bodies that newer kubectls send for the kinds they can `create` without a manifest. Answers are
-- JSON, which these clients accept as well. Only what is needed is in the table; another kind is refused with 415.
local crypto = require "crypto"
local json = require "json"
local value = require "emulator.kubernetes.value"

local protobuf = {}

-- Name: number:field=type ... ; s string, i integer, b boolean, y bytes, t time, q quantity, x integer or string;
-- a ? keeps zero and false; [T] repeated, {T} map; `~` takes the fields of a message as one's own.
local messages = [[
ObjectMeta: 1:name=s 2:generateName=s 3:namespace=s 5:uid=s 6:resourceVersion=s 10:deletionGracePeriodSeconds=i? 11:labels={s} 12:annotations={s} 13:ownerReferences=[OwnerReference] 14:finalizers=[s]
OwnerReference: 1:kind=s 3:name=s 4:uid=s 5:apiVersion=s 6:controller=b? 7:blockOwnerDeletion=b?
LabelSelector: 1:matchLabels={s} 2:matchExpressions=[LabelSelectorRequirement]
LabelSelectorRequirement: 1:key=s 2:operator=s 3:values=[s]
Namespace: 1:metadata=ObjectMeta 2:spec=NamespaceSpec
NamespaceSpec: 1:finalizers=[s]
ConfigMap: 1:metadata=ObjectMeta 2:data={s} 3:binaryData={y} 4:immutable=b?
Secret: 1:metadata=ObjectMeta 2:data={y} 3:type=s 4:stringData={s} 5:immutable=b?
ServiceAccount: 1:metadata=ObjectMeta 2:secrets=[ObjectReference] 3:imagePullSecrets=[LocalObjectReference] 4:automountServiceAccountToken=b?
ObjectReference: 1:kind=s 2:namespace=s 3:name=s 4:uid=s 5:apiVersion=s
LocalObjectReference: 1:name=s
SelfSubjectAccessReview: 1:metadata=ObjectMeta 2:spec=AccessSpec
SubjectAccessReview: 1:metadata=ObjectMeta 2:spec=AccessSpec
LocalSubjectAccessReview: 1:metadata=ObjectMeta 2:spec=AccessSpec
AccessSpec: 1:resourceAttributes=ResourceAttributes 2:nonResourceAttributes=NonResourceAttributes 3:user=s 4:groups=[s]
ResourceAttributes: 1:namespace=s 2:verb=s 3:group=s 4:version=s 5:resource=s 6:subresource=s 7:name=s
NonResourceAttributes: 1:path=s 2:verb=s
SelfSubjectRulesReview: 1:metadata=ObjectMeta 2:spec=RulesSpec
RulesSpec: 1:namespace=s
SelfSubjectReview: 1:metadata=ObjectMeta
TokenRequest: 1:metadata=ObjectMeta 2:spec=TokenRequestSpec
TokenRequestSpec: 1:audiences=[s] 4:expirationSeconds=i
Eviction: 1:metadata=ObjectMeta 2:deleteOptions=DeleteOptions
DeleteOptions: 1:gracePeriodSeconds=i? 2:preconditions=Preconditions 3:orphanDependents=b? 4:propagationPolicy=s 5:dryRun=[s]
Preconditions: 1:uid=s 2:resourceVersion=s
Binding: 1:metadata=ObjectMeta 2:target=ObjectReference
Role: 1:metadata=ObjectMeta 2:rules=[PolicyRule]
ClusterRole: 1:metadata=ObjectMeta 2:rules=[PolicyRule] 3:aggregationRule=AggregationRule
AggregationRule: 1:clusterRoleSelectors=[LabelSelector]
PolicyRule: 1:verbs=[s] 2:apiGroups=[s] 3:resources=[s] 4:resourceNames=[s] 5:nonResourceURLs=[s]
RoleBinding: 1:metadata=ObjectMeta 2:subjects=[Subject] 3:roleRef=RoleRef
ClusterRoleBinding: 1:metadata=ObjectMeta 2:subjects=[Subject] 3:roleRef=RoleRef
Subject: 1:kind=s 2:apiGroup=s 3:name=s 4:namespace=s
RoleRef: 1:apiGroup=s 2:kind=s 3:name=s
PriorityClass: 1:metadata=ObjectMeta 2:value=i 3:globalDefault=b 4:description=s 5:preemptionPolicy=s
ResourceQuota: 1:metadata=ObjectMeta 2:spec=ResourceQuotaSpec
ResourceQuotaSpec: 1:hard={q} 2:scopes=[s]
PodDisruptionBudget: 1:metadata=ObjectMeta 2:spec=PodDisruptionBudgetSpec
PodDisruptionBudgetSpec: 1:minAvailable=x 2:selector=LabelSelector 3:maxUnavailable=x
Service: 1:metadata=ObjectMeta 2:spec=ServiceSpec
ServiceSpec: 1:ports=[ServicePort] 2:selector={s} 3:clusterIP=s 4:type=s 5:externalIPs=[s] 7:sessionAffinity=s 8:loadBalancerIP=s 10:externalName=s 11:externalTrafficPolicy=s
ServicePort: 1:name=s 2:protocol=s 3:port=i 4:targetPort=x 5:nodePort=i
Deployment: 1:metadata=ObjectMeta 2:spec=DeploymentSpec
DeploymentSpec: 1:replicas=i? 2:selector=LabelSelector 3:template=PodTemplateSpec 4:strategy=DeploymentStrategy 5:minReadySeconds=i 6:revisionHistoryLimit=i? 7:paused=b 9:progressDeadlineSeconds=i?
DeploymentStrategy: 1:type=s
PodTemplateSpec: 1:metadata=ObjectMeta 2:spec=PodSpec
Pod: 1:metadata=ObjectMeta 2:spec=PodSpec
PodSpec: 2:containers=[Container] 3:restartPolicy=s 4:terminationGracePeriodSeconds=i? 6:dnsPolicy=s 7:nodeSelector={s} 8:serviceAccountName=s 10:nodeName=s 11:hostNetwork=b 20:initContainers=[Container]
Container: 1:name=s 2:image=s 3:command=[s] 4:args=[s] 5:workingDir=s 6:ports=[ContainerPort] 7:env=[EnvVar] 8:resources=ResourceRequirements 14:imagePullPolicy=s 16:stdin=b 17:stdinOnce=b 18:tty=b
ContainerPort: 1:name=s 2:hostPort=i 3:containerPort=i 4:protocol=s 5:hostIP=s
EnvVar: 1:name=s 2:value=s
ResourceRequirements: 1:limits={q} 2:requests={q}
Job: 1:metadata=ObjectMeta 2:spec=JobSpec
JobSpec: 1:parallelism=i? 2:completions=i? 3:activeDeadlineSeconds=i? 4:selector=LabelSelector 5:manualSelector=b? 6:template=PodTemplateSpec 7:backoffLimit=i? 8:ttlSecondsAfterFinished=i?
CronJob: 1:metadata=ObjectMeta 2:spec=CronJobSpec
CronJobSpec: 1:schedule=s 2:startingDeadlineSeconds=i? 3:concurrencyPolicy=s 4:suspend=b? 5:jobTemplate=JobTemplateSpec 6:successfulJobsHistoryLimit=i? 7:failedJobsHistoryLimit=i? 8:timeZone=s
JobTemplateSpec: 1:metadata=ObjectMeta 2:spec=JobSpec
Ingress: 1:metadata=ObjectMeta 2:spec=IngressSpec
IngressSpec: 1:defaultBackend=IngressBackend 2:tls=[IngressTLS] 3:rules=[IngressRule] 4:ingressClassName=s
IngressBackend: 4:service=IngressServiceBackend
IngressServiceBackend: 1:name=s 2:port=ServiceBackendPort
ServiceBackendPort: 1:name=s 2:number=i
IngressTLS: 1:hosts=[s] 2:secretName=s
IngressRule: 1:host=s 2:~=IngressRuleValue
IngressRuleValue: 1:http=HTTPIngressRuleValue
HTTPIngressRuleValue: 1:paths=[HTTPIngressPath]
HTTPIngressPath: 1:path=s 2:backend=IngressBackend 3:pathType=s
]]

local tables

local function compile()
  tables = {}
  for line in messages:gmatch("[^\n]+") do
    local name, rest = line:match("^(%w+): (.*)$")
    local fields = {}
    for number, field, text in rest:gmatch("(%d+):([%w~]+)=(%S+)") do
      local keep = text:match("%?$") ~= nil
      text = text:gsub("%?$", "")
      local list, map = text:match("^%[(.+)%]$"), text:match("^{(.+)}$")
      fields[tonumber(number)] = { name = field, type = list or map or text, list = list ~= nil, map = map ~= nil, keep = keep }
    end
    tables[name] = fields
  end
end

local function varint(text, at)
  local n, shift = 0, 0
  while true do
    local b = text:byte(at)
    if not b or shift > 63 then error("a number is cut short", 0) end
    n = n | (b & 0x7f) << shift
    at, shift = at + 1, shift + 7
    if b < 128 then return n, at end
  end
end

--- Calls each(number, wire type, value) for the fields of a message.
local function fields(text, each)
  local at = 1
  while at <= #text do
    local tag, v
    tag, at = varint(text, at)
    local wire = tag & 7
    if wire == 0 then
      v, at = varint(text, at)
    elseif wire == 2 then
      local n
      n, at = varint(text, at)
      if at + n - 1 > #text then error("a field is cut short", 0) end
      v, at = text:sub(at, at + n - 1), at + n
    elseif wire == 1 then
      v, at = text:sub(at, at + 7), at + 8
    elseif wire == 5 then
      v, at = text:sub(at, at + 3), at + 4
    else
      error("an unknown wire type", 0)
    end
    each(tag >> 3, wire, v)
  end
end

local message

local function int_or_string(text)
  local kind, number, word = 0, 0, ""
  fields(text, function(n, _, v)
    if n == 1 then kind = v elseif n == 2 then number = v elseif n == 3 then word = v end
  end)
  return kind == 1 and word or number
end

local function first_string(text)
  local out
  fields(text, function(n, _, v)
    if n == 1 then out = v end
  end)
  return out
end

local function single(type_, v)
  if type_ == "s" then return v end
  if type_ == "y" then return crypto.base64(v) end
  if type_ == "i" then return v end
  if type_ == "b" then return v ~= 0 end
  if type_ == "q" then return first_string(v) end
  if type_ == "x" then return int_or_string(v) end
  return message(type_, v)
end

local function empty(v) return v == "" or v == 0 or v == false or type(v) == "table" and next(v) == nil end

function message(name, text)
  local out = {}
  fields(text, function(number, _, v)
    local f = tables[name][number]
    if not f then return end
    if f.map then
      local key, item = "", nil
      fields(v, function(n, _, inner)
        if n == 1 then key = inner else item = single(f.type, inner) end
      end)
      out[f.name] = out[f.name] or {}
      out[f.name][key] = item or ""
    elseif f.list then
      out[f.name] = out[f.name] or json.array {}
      table.insert(out[f.name], single(f.type, v))
    elseif f.name == "~" then
      for k, item in pairs(message(f.type, v)) do out[k] = item end
    else
      local item = single(f.type, v)
      if f.keep or not empty(item) then out[f.name] = item end
    end
  end)
  return out
end

--- Decodes a body of type application/vnd.kubernetes.protobuf; nil and why.
function protobuf.decode(body)
  if body:sub(1, 4) ~= "k8s\0" then return nil, "the body does not begin as protobuf of Kubernetes does" end
  if not tables then compile() end
  local ok, result = pcall(function()
    local api_version, kind, raw
    fields(body:sub(5), function(n, _, v)
      if n == 1 then
        fields(v, function(m, _, text)
          if m == 1 then api_version = text elseif m == 2 then kind = text end
        end)
      elseif n == 2 then
        raw = v
      end
    end)
    if not tables[kind or ""] then error(("kind %s is not understood in protobuf"):format(tostring(kind)), 0) end
    local out = message(kind, raw or "")
    out.apiVersion, out.kind = api_version, kind
    return value.compact(out)
  end)
  if not ok then return nil, tostring(result) end
  return result
end

return protobuf
