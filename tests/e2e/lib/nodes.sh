# Which Nodes are away at once: watched through the API with the kubeconfig $config, a line an event.
watch_nodes() {
  while [ -e "$work/watching" ]; do
    timeout 120 kubectl --kubeconfig "$config" get nodes -w --no-headers -o custom-columns=N:.metadata.name,U:.spec.unschedulable 2>/dev/null
  done >>"$work/watched"
}
start_watch() {
  : >"$work/watched"
  : >"$work/watching"
  watch_nodes &
  watcher=$!
  until_true 10 grep -q demo- "$work/watched"
}
stop_watch() {
  sleep 0.5
  rm -f "$work/watching"
  pkill -P "$watcher"
  wait "$watcher" 2>/dev/null
}
most_away() { # NAME-PATTERN
  awk -v of="$1" '$1 ~ of { if ($2 == "true") away[$1] = 1; else delete away[$1]; n = 0; for (x in away) n++; if (n > most) most = n }
    END { print most + 0 }' "$work/watched"
}
