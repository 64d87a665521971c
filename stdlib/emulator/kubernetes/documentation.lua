--- What `kubectl explain` says about the fields that people look up most. Types and fields without a line have none.
local texts = {
  ["Deployment"] = "A Deployment keeps a number of identical pods running and replaces them step by step when their template changes.",
  ["Deployment.spec"] = "What the deployment should look like.",
  ["Deployment.status"] = "What was last seen of it.",
  ["DeploymentSpec"] = "The wanted state of a deployment.",
  ["DeploymentSpec.replicas"] = "How many pods are wanted. Absent means 1; 0 is allowed.",
  ["DeploymentSpec.selector"] = "Labels of the pods that belong to the deployment. It cannot be changed and must match the template's labels.",
  ["DeploymentSpec.template"] = "The pods that are made.",
  ["DeploymentSpec.strategy"] = "How old pods are replaced by new ones.",
  ["DeploymentSpec.minReadySeconds"] = "How long a new pod must be ready before it counts as available.",
  ["DeploymentSpec.revisionHistoryLimit"] = "How many old replica sets are kept for a rollback. Defaults to 10.",
  ["DeploymentSpec.paused"] = "Whether changes of the template wait.",
  ["DeploymentSpec.progressDeadlineSeconds"] = "After how many seconds without progress a rollout counts as failed. Defaults to 600.",
  ["Pod"] = "A Pod is one or more containers that run together on a node.",
  ["PodSpec"] = "What a pod consists of.",
  ["PodSpec.containers"] = "The containers of the pod; at least one, and fixed once it exists.",
  ["PodSpec.initContainers"] = "Containers that run one after the other, each to its end, before the others start.",
  ["PodSpec.nodeName"] = "The node on which the pod is to run; the scheduler fills it in.",
  ["PodSpec.tolerations"] = "Taints of nodes that the pod accepts.",
  ["Container.image"] = "The name of the image.",
  ["Container.name"] = "The container's name, unique in its pod.",
  ["Container.ports"] = "Ports that the container listens on; information only.",
  ["Container.env"] = "Environment variables of the container.",
  ["Container.resources"] = "What the container asks for and may use.",
  ["Service"] = "A Service is one stable address for a set of pods.",
  ["ServiceSpec.clusterIP"] = "The address inside the cluster. Filled in when absent; None makes the service headless.",
  ["ServiceSpec.ports"] = "The ports of the service.",
  ["ServiceSpec.selector"] = "Labels of the pods that serve it.",
  ["ServiceSpec.type"] = "ClusterIP (default), NodePort, LoadBalancer or ExternalName.",
  ["ConfigMap"] = "A ConfigMap holds settings as text by key.",
  ["ConfigMap.data"] = "Text by key.",
  ["Secret"] = "A Secret holds confidential bytes by key.",
  ["Secret.data"] = "Values by key, in base64.",
  ["Node"] = "A Node is a machine that runs pods.",
  ["NodeSpec.unschedulable"] = "Whether new pods keep away from the node.",
  ["NodeSpec.taints"] = "What keeps pods away that do not tolerate it.",
  ["Namespace"] = "A Namespace is a scope for names.",
  ["ObjectMeta.name"] = "The name, unique among objects of the kind in the namespace. It cannot be changed.",
  ["ObjectMeta.namespace"] = "The namespace that the object is in.",
  ["ObjectMeta.labels"] = "Words by which objects are found and selected.",
  ["ObjectMeta.annotations"] = "Any other text that tools attach.",
}

local parameters = {
  dryRun = "All: go through every stage but do not keep the result.",
  fieldManager = "The name under which changed fields are recorded.",
  fieldValidation = "What happens to unknown and duplicate fields: Ignore, Warn or Strict.",
}

local common = {
  apiVersion = "The version of the API that this object is written for.",
  kind = "What this object is.",
  metadata = "Name, labels and what else all objects have.",
}

return {
  --- The description of a type, or nil.
  type = function(name) return texts[name or ""] end,
  --- The description of a field of a type, or nil.
  field = function(type_, name) return texts[(type_ or "") .. "." .. name] or common[name] end,
  --- The description of a query parameter.
  parameter = function(name) return parameters[name] end,
}
