--- The commands in their order: {name, arguments, files= written before, ends= seconds after which it is ended, own= nobody
-- recorded it}. `{ns}` is the namespace, of the client's own.
local function deployment(replicas)
  return ([[
apiVersion: apps/v1
kind: Deployment
metadata:
  name: nginx
  namespace: {ns}
  labels: {app: nginx}
spec:
  replicas: %d
  selector: {matchLabels: {app: nginx}}
  template:
    metadata: {labels: {app: nginx}}
    spec:
      containers:
        - name: nginx
          image: nginx:stable-alpine
          ports: [{containerPort: 80, protocol: TCP}]
---
apiVersion: v1
kind: Service
metadata: {name: nginx, namespace: {ns}}
spec:
  selector: {app: nginx}
  ports: [{port: 80, targetPort: 80, protocol: TCP}]
]]):format(replicas)
end

local repository = [[
apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: flux-system, namespace: {ns}}
spec: {interval: 1m, url: "ssh://git@127.0.0.1/repo", ref: {branch: main}}
]]

local function d(replicas) return { ["d.yaml"] = deployment(replicas) } end

return {
  { "get-nodes-cold", "get nodes" },
  { "version", "version" },
  { "api-versions", "api-versions" },
  { "get-nodes", "get nodes" },
  { "get-nodes-wide", "get nodes -o wide" },
  { "get-node-json", "get node cp-0 -o json" },
  { "get-missing", "get node nope" },
  { "get-kind-missing", "get things" },
  { "create-namespace", "create namespace {ns}" },
  { "apply", "apply -f d.yaml", files = d(1) },
  { "apply-again", "apply -f d.yaml" },
  { "rollout-status", "-n {ns} rollout status deploy nginx --timeout=30s" },
  { "diff", "diff -f d.yaml", files = d(2) },
  { "apply-changed", "apply -f d.yaml" },
  { "get-deploy-all", "get deploy -A" },
  { "get-all", "get all -n {ns}" },
  { "get-pods-selector", "get pods -n {ns} -l app=nginx -o name" },
  { "raw-pods", "get --raw /api/v1/namespaces/{ns}/pods", own = true },
  { "raw-events", "get --raw /api/v1/namespaces/{ns}/events?fieldSelector=reason=ScalingReplicaSet", own = true },
  { "raw-core-resources", "get --raw /api/v1", own = true },
  { "describe-deploy", "describe deploy nginx -n {ns}" },
  { "apply-server-side", "apply --server-side --field-manager=vmrun --force-conflicts -f d.yaml" },
  { "apply-server-side-again", "apply --server-side --field-manager=vmrun -f d.yaml" },
  { "apply-server-side-conflict", "apply --server-side --field-manager=other -f d.yaml", files = d(3) },
  { "apply-dry-run", "apply --server-side --field-manager=vmrun --dry-run=server -f d.yaml" },
  { "scale", "scale deploy nginx -n {ns} --replicas=2" },
  { "label", "label deploy nginx -n {ns} team=a" },
  { "annotate", "annotate deploy nginx -n {ns} note=b --overwrite" },
  { "patch", 'patch deploy nginx -n {ns} -p {"spec":{"template":{"metadata":{"annotations":{"x":"y"}}}}}' },
  { "set-image", "set image deploy/nginx -n {ns} nginx=nginx:1.27" },
  { "rollout-restart", "rollout restart deploy nginx -n {ns}" },
  { "wait", "wait --for=condition=Available deploy/nginx -n {ns} --timeout=20s" },
  { "get-watch", "get pods -n {ns} -w", ends = 3 },
  { "events", "get events -n {ns}" },
  { "logs", "logs deploy/nginx -n {ns}" },
  { "cordon", "cordon worker-0" },
  { "drain", "drain worker-0 --ignore-daemonsets --delete-emptydir-data --timeout=20s" },
  { "uncordon", "uncordon worker-0" },
  { "taint", "taint node worker-0 k=v:NoSchedule" },
  { "untaint", "taint node worker-0 k-" },
  { "label-node", "label node worker-0 node-role.kubernetes.io/worker= --overwrite" },
  { "get-crds", "get crds" },
  { "get-flux", "get gitrepositories,kustomizations -A" },
  { "apply-custom", "apply -f g.yaml", files = { ["g.yaml"] = repository } },
  { "get-custom", "get gitrepositories -n {ns}" },
  { "explain", "explain deployment.spec.replicas" },
  { "can-i", "auth can-i create pods -n {ns}" },
  { "apply-invalid", "apply --server-side -f -" },
  { "configmap", "create configmap c -n {ns} --from-literal=a=1" },
  { "secret", "create secret generic s -n {ns} --from-literal=p=w" },
  { "get-secret", "get secret s -n {ns} -o jsonpath={.data.p}" },
  { "delete-deploy", "delete deploy nginx -n {ns}" },
  { "delete-wait-ns", "delete namespace {ns} --timeout=30s" },
  { "cluster-info", "cluster-info" },
  { "bad-token", "--token=wrong get nodes" },
}
