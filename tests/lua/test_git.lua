-- git over a folder of this machine and over SSH: commits only when something differs, and on a branch that moved under it.
package.path = (arg[0]:match("^(.*)/") or ".") .. "/?.lua;" .. package.path
local fs, git, process, task = require "fs", require "git", require "process", require "task"
local sshd = require "sshd"
local test = require "tap"

local AUTHOR = { name = "tester", email = "tester@example.org" }

local function repository(t)
  local path = t.tmp() .. "/x.git"
  assert(git.init { path = path, bare = true, branch = "main" })
  return "file://" .. path, path
end

local function commit(url, files, more)
  local options = { url = url, branch = "main", files = files, message = "a change", author = AUTHOR, timeout = 60 }
  for name, value in pairs(more or {}) do options[name] = value end
  return git.commit(options)
end

local function log_of(path)
  local result = assert(process.run { argv = { "/usr/bin/git", "-C", path, "log", "--format=%s", "main" }, timeout = 20 })
  local count = 0
  for _ in result.stdout:gmatch("[^\n]+") do count = count + 1 end
  return count
end

test("an empty repository gets its first commit", function(t)
  local url = repository(t)
  t.eq((git.head { url = url, branch = "main" }), nil)
  local done = assert(commit(url, { ["a/b.txt"] = "one\n" }))
  t.ok(done.changed)
  t.eq((git.head { url = url, branch = "main" }), done.commit)
  local read = assert(git.read { url = url, branch = "main", paths = { "a/b.txt", "missing" } })
  t.eq(read.commit, done.commit)
  t.eq(read.files["a/b.txt"], "one\n")
  t.eq(read.files.missing, nil)
end)

test("nothing that differs, nothing committed", function(t)
  local url, path = repository(t)
  local first = assert(commit(url, { x = "1", y = "2" }))
  local again = assert(commit(url, { x = "1" }))
  t.eq(again.changed, false)
  t.eq(again.commit, first.commit)
  t.eq(log_of(path), 1)
end)

test("a file goes, and one that is there is kept", function(t)
  local url = repository(t)
  assert(commit(url, { x = "1", y = "2" }))
  local done = assert(commit(url, { x = false, y = "ours", z = "new" }, { keep_existing = { y = true, z = true } }))
  t.ok(done.changed)
  local read = assert(git.read { url = url, branch = "main", paths = { "x", "y", "z" } })
  t.eq(read.files.x, nil)
  t.eq(read.files.y, "2")
  t.eq(read.files.z, "new")
end)

-- A server that takes pushes one after the other; libgit2's way into a folder does not.
local function served(t)
  local _, path = repository(t)
  local way = sshd.options(sshd.start(t))
  local lines = {}
  for i, key in ipairs(way.host_keys) do lines[i] = ("[%s]:%d %s"):format(way.host, way.port, key) end
  return ("ssh://%s@%s:%d%s"):format(way.user, way.host, way.port, path), path, { key = way.key, known_hosts = lines }
end

test("a branch that moves meanwhile is followed, and nobody's commit is lost", function(t)
  local url, path, access = served(t)
  assert(commit(url, { start = "0" }, access))
  local tasks = {}
  for i = 1, 3 do tasks[i] = task.spawn(commit, url, { ["file" .. i] = tostring(i) }, access) end
  for _, running in ipairs(tasks) do
    local ok, done, why = running:join()
    t.ok(ok and done, tostring(why or done))
  end
  local read = assert(git.read { url = url, branch = "main", paths = { "start", "file1", "file2", "file3" }, key = access.key,
    known_hosts = access.known_hosts })
  t.eq(read.files, { start = "0", file1 = "1", file2 = "2", file3 = "3" })
  t.eq(log_of(path), 4)
end)

test("another host key, and no key, are told apart", function(t)
  local url, _, access = served(t)
  local other = access.known_hosts[1]:match("^(%S+ %S+) ") .. " AAAAC3NzaC1lZDI1NTE5AAAAIAjEL1IVhiEdEyZtHG4MqRg235OI48F4vgmk5iV1Y1cn"
  t.err("hostkey", git.head { url = url, branch = "main", key = access.key, known_hosts = { other } })
  local stranger = require("crypto").keypair("ed25519").private
  t.err("auth", git.head { url = url, branch = "main", key = stranger, known_hosts = access.known_hosts })
end)

test("paths out of the repository are refused", function(t)
  local url = repository(t)
  for _, name in ipairs { "../x", "/etc/x", ".git/config", "a/../../x" } do
    local done = commit(url, { [name] = "no" })
    t.eq(done, nil)
  end
end)

test("a repository that is not there is told", function(t)
  local done, message = commit("file://" .. t.tmp() .. "/no-such.git", { x = "1" })
  t.eq(done, nil)
  t.ok(#message > 0)
end)

test("a checkout has the commit's files", function(t)
  local url = repository(t)
  local done = assert(commit(url, { ["d/e"] = "deep" }))
  local dir = t.tmp() .. "/tree"
  t.eq(assert(git.checkout { url = url, ref = "main", dir = dir }).commit, done.commit)
  t.eq(fs.read(dir .. "/d/e"), "deep")
end)

test.done()
