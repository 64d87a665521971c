--- A Git repository that somebody keeps: read for its head, written by `git.files` and `flux.bootstrap`.
local fail, field, git, kind = require "fail", require "field", require "git", require "kind"
local access = require "git.access"

local function find(ctx)
  local f = ctx.fields
  local head, message, code = git.head(access.options(ctx, f))
  if not head and message then
    error(fail { ("%s: %s"):format(f.url, message), code = code, hint = code == "hostkey" and "check known_hosts" or
      code == "auth" and "check the key, or its rights on the repository" or nil })
  end
  return { fields = f, outputs = { head = head } }
end

return kind "git.repository" {
  doc = "A Git repository, over SSH or HTTPS.", data = true,
  fields = {
    url = field.string { required = true, doc = "ssh://git@HOST/PATH, git@HOST:PATH or https://HOST/PATH." },
    branch = field.string { default = "main" },
    key = field.secret { doc = "The private key of an account or a deploy key that may push." },
    known_hosts = field.list { field.string {}, doc = "The server's host keys, as lines of known_hosts." },
    username = field.string { doc = "For HTTPS." }, password = field.secret { doc = "For HTTPS: a token." },
    deploy_key = field.secret { doc = "The private key that the cluster reads with; `key` unless given." },
    key_file = field.string { doc = "Where a person finds the key." },
  },
  outputs = { head = field.string { volatile = true, doc = "The branch's commit." } },
  identity = function(f) return f.url end,
  read = find, create = find, update = find,
  delete = function() end,
}
