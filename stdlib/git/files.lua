--- Files committed to a repository. Nothing is committed when nothing differs.
local access = require "git.access"
local fail, field, git, json, kind = require "fail", require "field", require "git", require "json", require "kind"

local function names(files)
  local list = json.array {}
  for name in pairs(files) do list[#list + 1] = name end
  table.sort(list)
  return list
end

-- What the branch lacks or says otherwise; with keep_existing, what is there is the team's.
local function differences(f, there)
  local changes = {}
  for _, name in ipairs(names(f.files)) do
    local old = there[name]
    if old == nil or (old ~= f.files[name] and not f.keep_existing) then
      changes[#changes + 1] = { path = name, old = old, new = f.files[name] }
    end
  end
  return changes
end

local function write(ctx)
  local f = ctx.fields
  local keep
  if f.keep_existing then
    keep = {}
    for name in pairs(f.files) do keep[name] = true end
  end
  local done = fail.check(git.commit(access.options(ctx, f.repository, { files = f.files, message = f.message,
    author = { name = f.author, email = f.email }, keep_existing = keep })))
  return { outputs = { commit = done.commit, paths = names(f.files) } }
end

return kind "git.files" {
  doc = "Files of a Git repository, in one commit.", needs_all = true,
  fields = {
    name = field.string { default_name = true, ignore = true },
    repository = field.resource { "git.repository", "git.emulator_repository", required = true, replace = true },
    files = field.map { field.string {}, required = true, doc = "Path -> content." },
    keep_existing = field.boolean { default = false, ignore = true, doc = "Write a file once; from then on it is the team's." },
    message = field.string { default = "Update files", ignore = true },
    author = field.string { default = "vmrun", ignore = true },
    email = field.string { default = "vmrun@localhost", ignore = true },
  },
  outputs = { commit = field.string { volatile = true, doc = "The commit that has them." },
    paths = field.list { field.string {} } },
  timeouts = { read = 120, create = 300, update = 300 },
  identity = function(f)
    return f.repository and f.repository.url and f.name and ("%s#%s"):format(f.repository.url, f.name) or nil
  end,
  read = function(ctx)
    local f = ctx.fields
    local head, message, code = git.head(access.options(ctx, f.repository))
    if not head then
      if message then error(fail { ("%s: %s"):format(f.repository.url, message), code = code }) end
      return nil
    end
    local got = fail.check(git.read(access.options(ctx, f.repository, { paths = names(f.files) })))
    local changes = differences(f, got.files)
    if #changes == #names(f.files) and not ctx.prior then return nil end
    return { fields = f, outputs = { commit = got.commit, paths = names(f.files) }, changes = changes }
  end,
  create = write, update = write,
  -- What was committed is history and the team's; the repository is not ours to empty.
  delete = function() end,
}
