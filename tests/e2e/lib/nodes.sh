# Which Nodes are away at once, by the API with the kubeconfig $config: afterwards it tells all that has happened since, so that
# nothing is missed where an API server ends or the machine is busy.
start_watch() {
  timeout 30 kubectl --kubeconfig "$config" get --raw /api/v1/nodes >"$work/nodes"
  jq -r '.items[] | "\(.metadata.name) \(.spec.unschedulable // false)"' "$work/nodes" >"$work/watched"
}
stop_watch() {
  local since
  since=$(jq -r .metadata.resourceVersion "$work/nodes")
  timeout 30 kubectl --kubeconfig "$config" get --raw "/api/v1/nodes?watch=true&resourceVersion=$since&timeoutSeconds=1" |
    jq -r '.object | "\(.metadata.name) \(.spec.unschedulable // false)"' >>"$work/watched"
}
most_away() { # NAME-PATTERN
  awk -v of="$1" '$1 ~ of { if ($2 == "true") away[$1] = 1; else delete away[$1]; n = 0; for (x in away) n++; if (n > most) most = n }
    END { print most + 0 }' "$work/watched"
}
