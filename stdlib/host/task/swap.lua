--- Swap, which kubelets refuse.
local field, task = require "field", require "host.task"

return task "swap" {
  doc = "Whether the host swaps: now, in fstab and by systemd's units.",
  fields = { state = field.choice { "off", default = "off" } },
  shown = function() return { active = "", fstab = "" } end,
  check = [[s=$(swapon --show=NAME --noheadings 2>/dev/null) || s=
    [ -z "$s" ] || { oldis active "$s"; r=1; }
    f=$(awk '$1 !~ /^#/ && $3 == "swap"' /etc/fstab 2>/dev/null)
    [ -z "$f" ] || { oldis fstab "$f"; r=1; }
    return $r]],
  apply = [[swapoff -a || return
    new() { awk '$1 !~ /^#/ && $3 == "swap" { print "#" $0; next } { print }' /etc/fstab; }
    [ ! -f /etc/fstab ] || { look /etc/fstab; put /etc/fstab "$mode" "$ids"; } || return
    for u in $(systemctl list-units --type=swap --plain --no-legend 2>/dev/null | awk '{ print $1 }'); do
      systemctl mask "$u"; done]],
}
