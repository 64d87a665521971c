--- An apt repository with its own key.
local field, task = require "field", require "host.task"

return task "apt_repository" {
  doc = "An apt repository and the key that signs it.", key = "name",
  fields = {
    name = field.string { required = true, match = "^[%w_.-]+$", doc = "Names the files." },
    url = field.string { required = true, match = "^%w+://%S+$" },
    suite = field.string { required = true, match = "^%S+$", doc = "Such as `bookworm`, or `/` for a flat repository." },
    components = field.list { field.string {}, default = {}, doc = "Such as `main`; none for a flat repository." },
    key = field.string { doc = "The armoured key." },
    key_url = field.string { match = "^%w+://%S+$", doc = "Where the host fetches the armoured key, when `key` is not given." },
    architecture = field.string { match = "^%w+$" },
  },
  prepare = function(t)
    if not t.key and not t.key_url then error("apt_repository \"" .. t.name .. "\": needs 'key' or 'key_url'", 0) end
    local keyring = "/etc/apt/keyrings/" .. t.name .. ".asc"
    local arch = t.architecture and "arch=" .. t.architecture .. " " or ""
    local parts = { ("deb [%ssigned-by=%s] %s %s"):format(arch, keyring, t.url, t.suite) }
    for _, component in ipairs(t.components) do parts[#parts + 1] = component end
    t.keyring, t.source, t.entry = keyring, "/etc/apt/sources.list.d/" .. t.name .. ".list", table.concat(parts, " ")
    -- Where a fetched key came from is written down, so that another place is seen.
    if not t.key then t.entry = "# key: " .. t.key_url .. "\n" .. t.entry end
    if t.key then t.key = t.key:gsub("%s+$", "") end
  end,
  shown = function(t) return { entry = t.entry, key = t.key or "from " .. tostring(t.key_url) } end,
  check = function(t)
    local key = t.key and "[ \"$(cat {keyring} 2>/dev/null)\" = {key} ]" or "[ -s {keyring} ]"
    return key .. [[ || { oldis key "$(head -n 3 {keyring} 2>/dev/null)"; r=1; }
      [ "$(cat {source} 2>/dev/null)" = {entry} ] || { cat {source} 2>/dev/null | old entry; r=1; }
      return $r]]
  end,
  apply = function(t)
    local key = t.key and "new() { printf '%s\\n' {key}; }; put {keyring} 644 ''" or
      "{ fetch {key_url} /etc/apt/keyrings/.vmrun.$$ && chmod 644 /etc/apt/keyrings/.vmrun.$$ && mv -f /etc/apt/keyrings/.vmrun.$$ {keyring} || { rm -f /etc/apt/keyrings/.vmrun.$$; false; }; }"
    return "mkdir -p /etc/apt/keyrings /etc/apt/sources.list.d && " .. key .. [[ || return
      new() { printf '%s\n' {entry}; }; put {source} 644 '' && apt_stale]]
  end,
}
