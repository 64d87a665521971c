--- A file on this machine.
local kind, field, fs, fail = require "kind", require "field", require "fs", require "fail"

local function mode_of(f) return f.mode and tonumber(f.mode, 8) or 420 end -- 0644

local function write(ctx)
  local f = ctx.fields
  local folder = f.path:match("^(.+)/[^/]*$")
  if folder then fail.check(fs.mkdir(folder, 493)) end -- 0755
  fail.check(fs.write(f.path, f.content, { mode = mode_of(f), atomic = true }))
  return { outputs = { id = f.path } }
end

return kind "local.file" {
  doc = "A file on this machine. Folders above it are made, and stay when it goes.",
  fields = {
    path = field.string { required = true, replace = true, min = 1, doc = "Where it is; relative to the working folder." },
    content = field.string { required = true, doc = "What it holds." },
    mode = field.string { match = "^0?[0-7][0-7][0-7]$", default = "0644", doc = "Its mode, in octal digits." },
  },
  outputs = { id = field.string { doc = "Its path." } },
  identity = function(f) return f.path end,
  predict = function(f) return { id = f.path } end,
  read = function(ctx)
    local f = ctx.fields
    local path = f.path or (ctx.prior and ctx.prior.id)
    local about, message, code = fs.stat(path)
    if not about then
      if code == "not_found" or code == "not_directory" then return nil end
      error(fail { message, code = code })
    end
    if about.type ~= "file" then
      error(fail { ("%s is a %s, not a file"):format(path, about.type), code = "conflict", hint = "move it away, or choose another path" })
    end
    local mode = ("%04o"):format(about.mode & 511)
    if f.mode and tonumber(f.mode, 8) == about.mode & 511 then mode = f.mode end
    return { fields = { path = path, content = fail.check(fs.read(path)), mode = mode }, outputs = { id = path } }
  end,
  create = write, update = write,
  delete = function(ctx)
    local path = ctx.prior and ctx.prior.id or ctx.fields.path
    local ok, message, code = fs.remove(path)
    if not ok and code ~= "not_found" then error(fail { message, code = code }) end
  end,
}
