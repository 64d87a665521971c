--- A file with its whole content.
local crypto, field, task = require "crypto", require "field", require "host.task"

-- A shell reads a text of this length in less time than another program takes to start.
local SHORT = 512

--- What a file's check compares the content with.
local function measure(t) t.digest, t.length = crypto.sha256(t.content), ("%d"):format(#t.content) end

return task "file" {
  doc = "A file: content, mode and owner.", key = "path",
  fields = {
    path = field.string { required = true, match = "^/" },
    content = field.string { doc = "The whole content." },
    mode = field.string { default = "0644", match = "^0?[0-7]?[0-7][0-7][0-7]$" },
    owner = field.string { default = "root:root", match = "^[%w_.-]+:[%w_.-]+$", doc = "`user:group`." },
    secret = field.boolean { default = false, doc = "Never show the content." },
    state = field.choice { "present", "absent", default = "present" },
  },
  prepare = function(t, name)
    if t.state == "present" and not t.content then error("file \"" .. name .. "\": needs 'content'", 0) end
    t.mode = ("%o"):format(tonumber(t.mode, 8))
    if t.content then measure(t) end
  end,
  shown = function(t)
    if t.state == "absent" then return { content = "" } end
    return { content = not t.secret and t.content or nil, digest = t.secret and "(secret, changed)" or nil, mode = t.mode, owner = t.owner }
  end,
  check = function(t)
    if t.state == "absent" then return "[ ! -e {path} ] && [ ! -L {path} ] || { oldis content present; return 1; }" end
    local holds = not t.secret and #t.content <= SHORT and [=[[ "$size" = {length} ] && slurp {path} && [ "$text" = {content} ]]=]
      or [=[digest {path}; [ "$sum" = {digest} ]]=]
    return [[r=0
      if [ -f {path} ] && [ ! -L {path} ]; then
        look {path}
        { ]] .. holds .. [[; } || { [ "$MODE" = check ] || return 1; r=1; }
        [ $r -eq 0 ] || ]] .. (t.secret and "oldis digest '(secret)'" or "oldfile content {path}") .. [[

        [ "$mode" = {mode} ] || { r=1; oldis mode "$mode"; }
        [ "$owner" = {owner} ] || [ "$ids" = {owner} ] || { r=1; oldis owner "$owner"; }
      else r=1; fi; return $r]]
  end,
  measure = measure,
  inline = true, puts = true,
  looks_at = function(t) return t.path end,
  proves = function(t) return t.state == "present" end,
  apply = function(t)
    if t.state == "absent" then return "rm -f -- {path}" end
    return "new() { printf %s {content}; }; put {path} {mode} {owner}"
  end,
}
