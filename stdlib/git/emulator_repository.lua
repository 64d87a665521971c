--- A Git repository of the emulator: a real one, served over SSH by a real sshd on loopback.
local fail, field, fs, http, json, kind = require "fail", require "field", require "fs", require "http", require "json", require "kind"

local function call(ctx, method, f)
  if ctx.target.kind ~= "emulator" then
    error(fail { "git.emulator_repository exists on the emulator only", code = "target",
      hint = "give the recipe a repository of your own: git_url=ssh://..." })
  end
  local endpoint = fail.check(json.decode(fail.check(fs.read(ctx.target.emulator_dir .. "/endpoint.json"))))
  local answer = fail.check(http.request { method = method, url = endpoint.arm .. "/emulator/git/" .. f.name, ca = endpoint.ca,
    headers = { Authorization = "Bearer " .. endpoint.token }, body = json.encode { branch = f.branch }, timeout = 60 })
  if answer.status == 404 then return nil end
  if answer.status >= 300 then error(fail { ("the emulator refused: HTTP %d %s"):format(answer.status, answer.body), code = "emulator" }) end
  return fail.check(json.decode(answer.body))
end

local function told(f, found)
  return { fields = f, outputs = { url = found.url, key = found.key, deploy_key = found.deploy_key, key_file = found.key_file,
    connect_to = found.connect_to, known_hosts = json.array(found.known_hosts) } }
end

local function make(ctx) return told(ctx.fields, call(ctx, "PUT", ctx.fields)) end

return kind "git.emulator_repository" {
  doc = "A Git repository served by the emulator over SSH.",
  fields = {
    name = field.string { default_name = true, replace = true, match = "^[%w][%w._-]*$" },
    branch = field.string { default = "main", replace = true },
  },
  outputs = { url = field.string {}, connect_to = field.string { doc = "Where it is really reached from here, if not by its URL." },
    known_hosts = field.list { field.string {} },
    key = field.secret { doc = "A key that may push; it lives in key_file." },
    deploy_key = field.secret { doc = "A key that may only read." },
    key_file = field.string { doc = "The file of the key that may push." } },
  identity = function(f) return f.name and "emulator/git/" .. f.name or nil end,
  read = function(ctx)
    local found = call(ctx, "GET", ctx.fields)
    return found and told(ctx.fields, found)
  end,
  create = make, update = make,
  delete = function(ctx) call(ctx, "DELETE", ctx.fields) end,
}
