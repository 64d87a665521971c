--- Kustomize over files in memory, judged by kubectl's own where there is one, and by hand-written expectations.
local test = require "tap"
local fs = require "fs"
local json = require "json"
local kustomize = require "emulator.kubernetes.kustomize"
local process = require "process"
local yaml = require "yaml"

test.timeout = 120

local kubectl = process.run { argv = { "kubectl", "version", "--client" } }
-- Older ones have a kustomize of another major release, with other rules.
kubectl = kubectl and kubectl.code == 0 and kubectl.stdout:find("Kustomize Version: v5", 1, true) ~= nil

local function id(o)
  return table.concat({ o.apiVersion, o.kind, o.metadata.namespace or "", o.metadata.name }, " ")
end

local function by_id(objects)
  local out = {}
  for _, o in ipairs(objects) do out[id(o)] = o end
  return out
end

-- Where two values differ: a list of "path: ours, theirs".
local function differences(ours, theirs, path, out)
  if type(ours) == "table" and type(theirs) == "table" and json.is_array(ours) == json.is_array(theirs) then
    local keys = {}
    for _, t in ipairs { ours, theirs } do
      for k in pairs(t) do keys[k] = true end
    end
    for k in pairs(keys) do differences(ours[k], theirs[k], path .. "/" .. tostring(k), out) end
  elseif ours ~= theirs then
    local function text(v) return v == nil and "nothing" or json.encode(v, { sort = true }) end
    out[#out + 1] = path .. ": " .. text(ours) .. ", not " .. text(theirs)
  end
  return out
end

local function same(t, ours, theirs)
  local list = differences(by_id(ours), by_id(theirs), "", {})
  table.sort(list)
  t.eq(table.concat(list, "\n#   "), "")
  t.eq(#ours, #theirs)
end

local function write(root, files)
  for path, text in pairs(files) do
    local whole = root .. "/" .. path
    assert(fs.mkdir(whole:match("^(.*)/")))
    assert(fs.write(whole, text))
  end
end

-- What kubectl makes of a folder: a list of objects, or nil and its message.
local function judge(t, files, folder)
  local root = t.tmp()
  write(root, files)
  local r = process.run { argv = { "kubectl", "kustomize", root .. "/" .. folder }, timeout = 60 }
  if r.code ~= 0 then return nil, r.stderr, root end
  return assert(yaml.decode_all(r.stdout))
end

local function lines(list) return table.concat(list, "\n") .. "\n" end

local DEPLOYMENT = [[
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels: {tier: front}
spec:
  replicas: 1
  selector:
    matchLabels: {app: web}
  template:
    metadata:
      labels: {app: web}
    spec:
      serviceAccountName: runner
      imagePullSecrets: [{name: pull}]
      initContainers:
      - name: init
        image: docker.io/library/busybox:1.36
      containers:
      - name: web
        image: nginx:1.25
        args: ["-c", "/etc/x"]
        ports:
        - {containerPort: 80, name: http}
        env:
        - {name: A, value: "1"}
        - {name: B, valueFrom: {configMapKeyRef: {name: settings, key: b}}}
        - {name: C, valueFrom: {secretKeyRef: {name: pull, key: c}}}
        envFrom:
        - configMapRef: {name: settings}
        - secretRef: {name: pull}
        volumeMounts:
        - {name: conf, mountPath: /conf}
      - name: side
        image: registry.example:5000/team/side@sha256:aaaa
      volumes:
      - {name: conf, configMap: {name: settings}}
      - {name: sec, secret: {secretName: pull}}
      - name: both
        projected:
          sources:
          - configMap: {name: settings}
          - secret: {name: pull}
      - {name: disk, persistentVolumeClaim: {claimName: disk}}
]]

local REST = [[
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: http}]
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: runner, namespace: old}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {b: "2"}
---
apiVersion: v1
kind: Secret
metadata: {name: pull}
stringData: {c: x}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: disk}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: reader}
rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: reader}
subjects: [{kind: ServiceAccount, name: runner, namespace: old}, {kind: User, name: runner}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: local}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{kind: ServiceAccount, name: default, namespace: old}, {kind: ServiceAccount, name: stranger, namespace: far}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
spec:
  tls: [{hosts: [a.example], secretName: pull}]
  rules:
  - host: a.example
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  maxReplicas: 3
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: tick}
spec:
  schedule: "* * * * *"
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          containers: [{name: tick, image: "busybox:1.36", envFrom: [{configMapRef: {name: settings}}]}]
---
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec:
  template:
    spec:
      restartPolicy: Never
      containers: [{name: once, image: busybox}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {minAvailable: 1, selector: {matchLabels: {app: web}}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress: [{from: [{podSelector: {matchLabels: {app: other}}}, {namespaceSelector: {matchLabels: {x: y}}}]}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: web
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: db, image: "postgres:16"}]}
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec: {containers: [{name: agent, image: "quay.io/x/agent"}]}
---
apiVersion: v1
kind: Namespace
metadata: {name: team}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.x.io}
spec:
  group: x.io
  scope: Namespaced
  names: {kind: Thing, plural: things, singular: thing, listKind: ThingList}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
---
apiVersion: x.io/v1
kind: Thing
metadata: {name: t}
spec: {image: "nginx:1", list: [{name: a, v: 1}, {name: b, v: 2}]}
]]

local function base(more)
  local files = { ["base/deployment.yaml"] = DEPLOYMENT, ["base/rest.yaml"] = REST,
    ["base/kustomization.yaml"] = "resources: [deployment.yaml, rest.yaml]\n" }
  for path, text in pairs(more) do files[path] = text end
  return files
end

local function overlay(text, more)
  more = more or {}
  more["over/kustomization.yaml"] = "resources: [../base]\n" .. text
  return base(more)
end

-- name, files, folder. All must give exactly what kubectl gives.
local trees = {
  { "the base alone", base {}, "base" },
  { "a namespace", overlay "namespace: prod\n" },
  { "prefix and suffix", overlay "namePrefix: a-\nnameSuffix: -z\n" },
  { "prefix, suffix and namespace", overlay "namespace: prod\nnamePrefix: a-\nnameSuffix: -z\n" },
  { "common labels", overlay "commonLabels: {team: x, app: web}\n" },
  { "labels without selectors", overlay "labels: [{pairs: {team: x}}]\n" },
  { "labels with selectors", overlay "labels: [{pairs: {team: x}, includeSelectors: true}]\n" },
  { "labels in templates", overlay "labels: [{pairs: {team: x}, includeTemplates: true}, {pairs: {b: c}}]\n" },
  { "annotations", overlay "commonAnnotations: {note: hello}\n" },
  { "images", overlay(lines { "images:", "- {name: nginx, newTag: '1.27'}", "- {name: docker.io/library/busybox, newName: mirror/busybox}",
    "- {name: busybox, digest: 'sha256:bbbb'}", "- {name: registry.example:5000/team/side, newName: other/side, newTag: v2}",
    "- {name: quay.io/x/agent, newTag: v1}", "- {name: postgres, newName: pg, digest: 'sha256:cccc'}" }) },
  { "replicas", overlay "replicas: [{name: web, count: 4}, {name: db, count: 0}]\n" },
  { "a strategic merge", overlay([[
patches:
- patch: |
    apiVersion: apps/v1
    kind: Deployment
    metadata:
      name: web
      annotations: {a: b}
    spec:
      replicas: 5
      template:
        spec:
          containers:
          - name: web
            env:
            - {name: A, value: "changed"}
            - {name: D, value: "new"}
            resources: {limits: {cpu: 100m}}
          - name: extra
            image: extra:1
          volumes:
          - {name: conf, $patch: delete}
          - {name: tmp, emptyDir: {}}
]]) },
  { "strategic merges that delete and replace", overlay([[
patches:
- patch: |
    $patch: delete
    apiVersion: v1
    kind: Service
    metadata: {name: web}
- patch: |
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: web}
    spec:
      template:
        spec:
          serviceAccountName: null
          containers:
          - $patch: replace
          - {name: only, image: only:1}
- patch: |
    apiVersion: v1
    kind: ConfigMap
    metadata: {name: settings}
    data: {b: null, z: "26"}
]]) },
  { "a patch of a custom kind", overlay([[
patches:
- patch: |
    apiVersion: x.io/v1
    kind: Thing
    metadata: {name: t}
    spec: {list: [{name: c, v: 3}], more: true}
]]) },
  { "targets", overlay([[
patches:
- target: {kind: Deployment|StatefulSet}
  patch: |
    - {op: add, path: /metadata/annotations, value: {x: z}}
- target: {labelSelector: "tier=front"}
  patch: |
    - {op: replace, path: /spec/replicas, value: 9}
    - {op: add, path: /spec/template/spec/containers/0/args/-, value: "-v"}
    - {op: remove, path: /spec/template/spec/initContainers}
- target: {name: "w.*", kind: Service}
  patch: |-
    kind: any
    metadata: {name: any}
    spec: {type: NodePort}
- target: {group: batch, version: v1}
  path: more.yaml
- target: {kind: Nothing}
  patch: |
    - {op: remove, path: /nowhere}
]], { ["over/more.yaml"] = "apiVersion: v1\nkind: X\nmetadata: {name: x, labels: {batch: 'yes'}}\n" }) },
  { "patches with the old names", overlay([[
patchesStrategicMerge:
- smp.yaml
- |-
  apiVersion: v1
  kind: ConfigMap
  metadata: {name: settings}
  data: {c: "3"}
patchesJson6902:
- target: {version: v1, kind: Service, name: web}
  path: ops.json
- target: {group: apps, version: v1, kind: Deployment, name: web}
  patch: |-
    - op: test
      path: /spec/replicas
      value: 1
    - op: copy
      from: /metadata/name
      path: /metadata/labels/copied
]], { ["over/smp.yaml"] = "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: agent}\nspec: {minReadySeconds: 3}\n",
      ["over/ops.json"] = '[{"op": "add", "path": "/spec/ports/0/nodePort", "value": 30080}]' }) },
  { "generators", { ["g/kustomization.yaml"] = [[
resources: [d.yaml]
configMapGenerator:
- name: settings
  literals: [b=2, "c=x=y", 'd="quoted"']
  files: [app.conf, other=dir/app.conf]
- name: env
  envs: [some.env]
  options: {disableNameSuffixHash: true, labels: {l: m}}
- name: empty
secretGenerator:
- name: pull
  literals: [c=secret]
- name: tls
  type: kubernetes.io/tls
  files: [tls.crt=app.conf, tls.key=app.conf]
]], ["g/d.yaml"] = DEPLOYMENT, ["g/app.conf"] = "line 1\nline <2> & \"more\"\n", ["g/dir/app.conf"] = "x", ["g/some.env"] = "# no\nA=1\n\nB= two \nC=\n" }, "g" },
  { "generators with a prefix and a namespace", { ["g/kustomization.yaml"] = [[
namespace: prod
namePrefix: p-
resources: [d.yaml]
generatorOptions: {labels: {made: by}, annotations: {note: one}}
configMapGenerator:
- {name: settings, literals: [b=2]}
secretGenerator:
- {name: pull, literals: [c=secret]}
]], ["g/d.yaml"] = DEPLOYMENT }, "g" },
  { "generators of a base, merged and replaced", { ["b/kustomization.yaml"] = "resources: [d.yaml]\nconfigMapGenerator: [{name: settings, literals: [a=1, b=2]}]\n"
      .. "secretGenerator: [{name: pull, literals: [c=d]}]\n", ["b/d.yaml"] = DEPLOYMENT,
    ["o/kustomization.yaml"] = "resources: [../b]\nnamePrefix: o-\nconfigMapGenerator: [{name: settings, behavior: merge, literals: [b=3, e=4]}]\n"
      .. "secretGenerator: [{name: pull, behavior: replace, literals: [x=y]}]\n" }, "o" },
  { "no hashes", { ["g/kustomization.yaml"] = "resources: [d.yaml]\ngeneratorOptions: {disableNameSuffixHash: true}\n"
      .. "configMapGenerator: [{name: settings, literals: [b=2]}]\n", ["g/d.yaml"] = DEPLOYMENT }, "g" },
  { "overlays of overlays", base { ["mid/kustomization.yaml"] = "resources: [../base]\nnamespace: mid\nnamePrefix: m-\n",
    ["top/kustomization.yaml"] = "resources: [../mid, extra]\nnamePrefix: t-\ncommonLabels: {env: top}\n",
    ["top/extra/kustomization.yml"] = "resources: [x.yaml]\n", ["top/extra/x.yaml"] = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n" }, "top" },
  { "a patch by the name before the prefix", base { ["mid/kustomization.yaml"] = "resources: [../base]\nnamePrefix: m-\n",
    ["top/kustomization.yaml"] = "resources: [../mid]\nnameSuffix: -t\npatches:\n- patch: |\n    apiVersion: apps/v1\n    kind: Deployment\n"
      .. "    metadata: {name: web}\n    spec: {replicas: 7}\n- target: {kind: Service, name: m-web}\n  patch: '- {op: add, path: /spec/type, value: NodePort}'\n" }, "top" },
  { "components", base { ["comp/kustomization.yaml"] = "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n"
      .. "resources: [more.yaml]\npatches: [{patch: '- {op: replace, path: /spec/replicas, value: 6}', target: {kind: Deployment}}]\n",
    ["comp/more.yaml"] = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: more}\n",
    ["over/kustomization.yaml"] = "resources: [../base]\ncomponents: [../comp]\nnamespace: prod\n" }, "over" },
  { "one base twice with two prefixes", { ["b/kustomization.yaml"] = "resources: [d.yaml]\nconfigMapGenerator: [{name: settings, literals: [a=1]}]\n",
    ["b/d.yaml"] = DEPLOYMENT, ["one/kustomization.yaml"] = "resources: [../b]\nnamePrefix: one-\n",
    ["two/kustomization.yaml"] = "resources: [../b]\nnamePrefix: two-\n", ["all/kustomization.yaml"] = "resources: [../one, ../two]\n" }, "all" },
  { "lists, comments, empty documents", { ["l/kustomization.yaml"] = "resources:\n- list.yaml\n", ["l/list.yaml"] = "# nothing\n---\n---\napiVersion: v1\n"
      .. "kind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {x: \"1\"}}\n"
      .. "- {apiVersion: v1, kind: ConfigMap, metadata: {name: b}}\n---\n" }, "l" },
}

for _, tree in ipairs(trees) do
  local name, files, folder = tree[1], tree[2], tree[3] or "over"
  test("as kubectl: " .. name, function(t)
    if not kubectl then t.skip "no kubectl here" end
    local theirs = t.ok(judge(t, files, folder))
    local ours = t.ok(kustomize.build(files, folder))
    same(t, ours, theirs)
  end)
end

-- What kubectl says of these, its paths cut to the tree.
local broken = {
  { "a kustomization that lists itself", { ["a/kustomization.yaml"] = "resources: [kustomization.yaml]\n" } },
  { "a missing file", { ["a/kustomization.yaml"] = "resources: [nope.yaml]\n" } },
  { "a circle", { ["a/kustomization.yaml"] = "resources: [../b]\n", ["b/kustomization.yaml"] = "resources: [../a]\n" } },
  { "an unknown field", { ["a/kustomization.yaml"] = "resorces: [x.yaml]\n" } },
  { "the same object twice", { ["a/kustomization.yaml"] = "resources: [x.yaml, y.yaml]\n", ["a/x.yaml"] = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n",
    ["a/y.yaml"] = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n" }, "may not add resource with an already registered id: ConfigMap.v1.[noGrp]/a.[noNs]" },
  { "a patch of nothing", { ["a/kustomization.yaml"] = "patches:\n- patch: |\n    apiVersion: v1\n    kind: ConfigMap\n    metadata: {name: zz}\nresources: [x.yaml]\n",
    ["a/x.yaml"] = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n" } },
  { "a namespace that is a list", { ["a/kustomization.yaml"] = "namespace: [x]\n" } },
  { "nothing", { ["a/kustomization.yaml"] = "" } },
  { "a file that is no manifest", { ["a/kustomization.yaml"] = "resources: [x.yaml]\n", ["a/x.yaml"] = "just: text\n" } },
  { "a missing generator's file", { ["a/kustomization.yaml"] = "configMapGenerator: [{name: a, files: [gone]}]\n" } },
  { "an operation that does not fit", { ["a/kustomization.yaml"] = "resources: [x.yaml]\npatches: [{target: {kind: ConfigMap}, patch: '- {op: remove, path: /data/x}'}]\n",
    ["a/x.yaml"] = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n" } },
  { "no kustomization in a base", { ["a/kustomization.yaml"] = "resources: [../b]\n", ["b/x.yaml"] = "a: b\n" },
    "unable to find one of 'kustomization.yaml', 'kustomization.yml' or 'Kustomization' in directory '/b'" },
  { "YAML that is none", { ["a/kustomization.yaml"] = "resources: [x.yaml]\n", ["a/x.yaml"] = "a: [b\n c" }, "accumulating resources from 'x.yaml': MalformedYAMLError: yaml: line " },
  { "a missing patch", { ["a/kustomization.yaml"] = "patches: [{path: gone.yaml}]\n" }, "failed to get the patch file from path(gone.yaml): evalsymlink failure on '/a/gone.yaml'" },
  { "a generator's file outside", { ["a/kustomization.yaml"] = "configMapGenerator: [{name: a, files: [../b/x]}]\n", ["b/x"] = "1" },
    "security; file '/b/x' is not in or below '/a'" },
}

for _, case in ipairs(broken) do
  local name, files, part = case[1], case[2], case[3]
  test("as kubectl says: " .. name, function(t)
    local none, why = kustomize.build(files, "a")
    t.eq(none, nil)
    if part then t.has(why, part) end
    if not kubectl then t.skip "no kubectl here" end
    local nothing, theirs, root = judge(t, files, "a")
    t.eq(nothing, nil)
    theirs = theirs:gsub(root:gsub("%p", "%%%0"), ""):gsub('\\"', '"')
    if part then t.has(theirs, part) else t.has(theirs, why) end
  end)
end

test("what leads out of the repository is refused", function(t)
  local none, why = kustomize.build({ ["a/kustomization.yaml"] = "resources: [../../etc]\n", ["etc/x.yaml"] = "a: b\n" }, "a")
  t.eq(none, nil)
  t.has(why, "it leads out of the repository")
end)

test("a folder without a kustomization has all manifests and kustomizations below it", function(t)
  local function map(name) return ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\n"):format(name) end
  local files = { ["c/one.yaml"] = map "one", ["c/deep/er/two.yml"] = map "two", ["c/read.me"] = "x", ["c/k/kustomization.yaml"] = "namePrefix: k-\nresources: [three.yaml]\n",
    ["c/k/three.yaml"] = map "three", ["c/k/unused.yaml"] = map "unused", ["other/four.yaml"] = map "four", ["c/empty.yaml"] = "# nothing\n" }
  local names = {}
  for i, o in ipairs(t.ok(kustomize.build(files, "./c"))) do names[i] = o.metadata.name end
  t.eq(names, { "two", "k-three", "one" })
  files["c/values.yaml"] = "a: b\n"
  t.eq({ kustomize.build(files, "c") }, { nil, "failed to decode Kubernetes YAML from /c/values.yaml: missing Resource metadata" })
end)

test("fields that are added from outside", function(t)
  local objects = t.ok(kustomize.build(base { ["base/deployment.yaml"] = DEPLOYMENT }, "base", { namespace = "far", namePrefix = "x-",
    images = json.array { { name = "nginx", newTag = "9" } },
    patches = json.array { { target = { kind = "Deployment" }, patch = "- {op: replace, path: /spec/replicas, value: 8}" } } }))
  local d = by_id(objects)["apps/v1 Deployment far x-web"]
  t.eq({ d.spec.replicas, d.spec.template.spec.containers[1].image, d.spec.template.spec.containers[1].envFrom[1].configMapRef.name },
    { 8, "nginx:9", "x-settings" })
end)

test.done()
