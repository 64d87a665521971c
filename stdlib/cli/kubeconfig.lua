--- `vmrun kubeconfig RECIPE`: the cluster's kubeconfig, made from where its credentials live, written 0600.
local fail, fs, json = require "fail", require "fs", require "json"
local evaluate = require "recipe.evaluate"

local M = {}

-- Rows whose kind gives a kubeconfig out.
local function sources(session)
  local rows = {}
  for _, row in ipairs(session.rows) do
    local page = not row.member and evaluate.kind(row.kind)
    if page and page.outputs.kubeconfig then rows[#rows + 1] = row.address end
  end
  return rows
end

local function source(call)
  local rows, wanted = sources(call.session), call.args.words[1]
  if #rows == 0 then
    error(fail { ("stack '%s' has no cluster"):format(call.session.stack), code = "kubeconfig", hint = "apply the recipe first" })
  end
  for _, row in ipairs(rows) do
    if not wanted or row == wanted then return row end
  end
  error(fail { ("'%s' gives no kubeconfig"):format(wanted), code = "kubeconfig", hint = "one of " .. table.concat(rows, ", ") })
end

--- The resources whose values are needed.
function M.choose(call) return json.array { source(call) } end

function M.run(call)
  local value = call.values[source(call)]
  local text = type(value) == "table" and value.kubeconfig
  if type(text) ~= "string" or text == "" then
    error(fail { "the cluster's kubeconfig is not known", code = "kubeconfig", hint = "does its control plane answer? see 'vmrun plan'" })
  end
  local path = call.args.out
  if path == "-" then return { text = text } end
  path = path or call.session.folder .. "/kubeconfig"
  fail.check(fs.write(path, text, { mode = 384, atomic = true })) -- 0600
  return { text = path }
end

return M
