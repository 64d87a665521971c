--- Git: reading and changing branches of a server. Each call runs in a short-lived child (`vmrun git-child`, over libgit2),
-- which gets its request, with the keys in it, on stdin, and is killed when the time is over or the task is cancelled.
--
-- All calls take the way to the server: url (ssh://, user@host:path, https://, http://, file:// or a path), key (private
-- key, text), passphrase, known_hosts (lines; must be given for SSH), username, password, ca (PEM: who signed an HTTPS
-- server's certificate), connect_to ("addr:port": where the TCP connection goes instead), timeout (120 s).
--
-- Failures are nil, message, code: unreachable, hostkey, auth, passphrase, tls, notfound, conflict, rejected, path, timeout, git.
local crypto = require "crypto"
local fs = require "fs"
local json = require "json"
local process = require "process"

local M = {}

local MAX_OUTPUT = 1 << 30

--- A folder of the child that goes with the scope, however it is left.
local function scratch()
  local path, message, code = fs.mktemp("vmrun-git-")
  if not path then return nil, message, code end
  return setmetatable({ path = path }, { __close = function(self) fs.remove(self.path, { recursive = true }) end })
end

local function array(list) return list and json.array(table.move(list, 1, #list, 1, {})) end

--- Runs one operation: its result as a table, or nil, message, code.
local function call(op, given, request)
  local tmp <close>, message, code = scratch()
  if not tmp then return nil, message, code end
  request.op, request.tmp = op, tmp.path
  for _, name in ipairs { "url", "branch", "key", "passphrase", "username", "password", "connect_to", "ca" } do
    request[name] = request[name] or given[name]
  end
  request.known_hosts = array(given.known_hosts)
  local timeout = given.timeout or 120
  local result
  result, message, code = process.run { argv = { process.self(), "git-child" }, stdin = json.encode(request),
    timeout = timeout, max_output = MAX_OUTPUT }
  if not result then
    if code == "timeout" then message = ("%s: no answer within %g s"):format(given.url or given.path, timeout) end
    return nil, message, code
  end
  local reply = json.decode(result.stdout)
  if type(reply) ~= "table" then
    local how = result.signal and "signal " .. tostring(result.signal) or "exit code " .. tostring(result.code)
    return nil, ("%s: vmrun git-child ended without an answer (%s)"):format(given.url or given.path, how), "git"
  end
  if reply.error then
    local text = reply.error.message
    if reply.error.hint then text = text .. "\n" .. reply.error.hint end
    return nil, text, reply.error.code
  end
  return reply.result
end

local function check(given, ...)
  if type(given) ~= "table" then error("a table of options is wanted, got " .. type(given), 3) end
  for _, name in ipairs { ... } do
    if given[name] == nil then error(("'%s' is missing"):format(name), 3) end
  end
end

--- The commit that a branch (default: the server's default branch) points to.
-- @return its hash; nil if the branch does not exist
function M.head(given)
  check(given, "url")
  local result, message, code = call("head", given, {})
  if not result then return nil, message, code end
  return result.commit ~= json.null and result.commit or nil
end

--- Reads files of a branch.
-- @param given branch, and paths (a list: what does not exist is left out) or prefix ("": all)
-- @return {commit=, files={path=text}}
function M.read(given)
  check(given, "url")
  local result, message, code = call("read", given, { paths = array(given.paths), prefix = given.prefix })
  if not result then return nil, message, code end
  for path, text in pairs(result.files) do result.files[path] = crypto.unbase64(text) end
  return result
end

--- Changes files of a branch in one commit, if that changes anything, and pushes it. When the branch moves meanwhile, the
-- changes are made again on what is there now. A branch that does not exist begins at the default branch.
-- @param given branch, files ({path = text, or false to delete}), message, author ({name=, email=}), keep_existing
-- ({path = true}: a file that exists is left as it is)
-- @return {commit=, changed=}
function M.commit(given)
  check(given, "url", "files", "message")
  local files, keep = {}, {}
  for path, text in pairs(given.files) do
    if text ~= false and type(text) ~= "string" then
      error(("files['%s'] must be a text or false, got %s"):format(tostring(path), type(text)), 2)
    end
    files[path] = text and crypto.base64(text)
  end
  for path, value in pairs(given.keep_existing or {}) do keep[path] = value and true or nil end
  local author = given.author or {}
  return call("commit", given, { files = files, keep = keep, message = given.message, name = author.name, email = author.email })
end

--- Makes a folder the same as a branch, tag or commit: what it tracked and is gone goes, other files stay.
-- @param given ref (default: the default branch), dir
-- @return {commit=}
function M.checkout(given)
  check(given, "url", "dir")
  return call("checkout", given, { ref = given.ref, dir = given.dir })
end

--- Makes an empty repository, unless there is one.
-- @param given path, bare (true), branch ("main")
-- @return {created=}
function M.init(given)
  check(given, "path")
  return call("init", given, { path = given.path, bare = given.bare ~= false, branch = given.branch })
end

return M
