--- A file from the network, known by its checksum.
local field, task = require "field", require "host.task"

return task "download" {
  doc = "A file that the host fetches; nothing is put in place unless its SHA-256 fits.", key = "path",
  fields = {
    path = field.string { required = true, match = "^/" },
    url = field.string { required = true, match = "^%w+://%S+$" },
    sha256 = field.string { required = true, match = "^%x+$", min = 64, max = 64 },
    mode = field.string { default = "0644", match = "^0?[0-7]?[0-7][0-7][0-7]$" },
  },
  prepare = function(t)
    t.mode, t.sha256 = ("%o"):format(tonumber(t.mode, 8)), t.sha256:lower()
  end,
  shown = function(t) return { sha256 = t.sha256, mode = t.mode } end,
  check = [[[ -f {path} ] || return 1
    digest {path}; [ "$sum" = {sha256} ] || { oldis sha256 "$sum"; r=1; }
    look {path}
    [ "$mode" = {mode} ] || { oldis mode "$mode"; r=1; }
    return $r]],
  looks_at = function(t) return t.path end,
  apply = [[[ ! -d {path} ] || { echo {path}" is a directory" >&2; return 1; }
    t=$(dirname -- {path})/.vmrun.$$
    mkdir -p -- "$(dirname -- {path})" && fetch {url} "$t" {seconds} || { rm -f -- "$t"; return 1; }
    digest "$t"; s=$sum
    [ "$s" = {sha256} ] || { rm -f -- "$t"; echo "the checksum of "{url}" is $s, not "{sha256} >&2; return 1; }
    chmod {mode} "$t" && mv -f -- "$t" {path}]],
}
