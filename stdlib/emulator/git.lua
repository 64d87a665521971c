--- Git repositories of the emulator, served over SSH by a real sshd on a machine of its own that is none of Azure's. Each has
-- two keys: one may push, one may only read.
local crypto, fs, git = require "crypto", require "fs", require "git"
local admin = require "emulator.admin"
local root = require "emulator.machines.root"
local once, world = require "emulator.once", require "emulator.world"
local fail = require "fail"

local M = {}

local TABLE, SERVER = "git", "git-server"
local PORT, NAME = 20022, "git.vmrun.test"

-- What a key may do: git-access NAME reads|writes. The command is compared as a whole, never given to a shell.
local ACCESS = [[#!/bin/sh
case $2,$SSH_ORIGINAL_COMMAND in
*,"git-upload-pack '/$1.git'") exec git-upload-pack "/$1.git" ;;
writes,"git-receive-pack '/$1.git'") exec git-receive-pack "/$1.git" ;;
reads,"git-receive-pack '/$1.git'") echo "ERROR: The key you are authenticating with has been marked as read only." >&2; exit 1 ;;
*) echo "ERROR: Repository not found." >&2; exit 1 ;;
esac
]]

local machines
local server

local function folder() return world.dir .. "/machines/" .. SERVER end

local function disk()
  local path = folder()
  -- The last file that is written says that it is whole.
  if not fs.stat(path .. "/commands/git-access") then
    root.make(world.dir, { key = SERVER, hostname = "git", user = "git", image = "debian-12" })
    fail.check(fs.write(path .. "/root/etc/gitconfig", "[safe]\n\tdirectory = *\n"))
    fail.check(fs.mkdir(path .. "/commands", 493))
    fail.check(fs.write(path .. "/commands/git-access", ACCESS, { mode = 493 }))
  end
  return path
end

-- One line a key; the forced command says which repository it is for, and what it may do there.
local function write_keys()
  local lines = {}
  for _, repository in world.store:each(TABLE) do
    for what, key in pairs { writes = repository.public_key, reads = repository.deploy_public_key } do
      lines[#lines + 1] = ('command="/usr/local/sbin/git-access %s %s",restrict %s'):format(repository.name, what, key)
    end
  end
  fail.check(fs.write(folder() .. "/root/home/git/.ssh/authorized_keys", table.concat(lines, "\n") .. "\n", { mode = 384 }))
end

local function start()
  if server then return server end
  local path = disk()
  write_keys()
  local address = world.addresses:allocate("machine", SERVER)
  local ok, why = machines.ask { op = "up", machine = SERVER, root = path .. "/root", commands = path .. "/commands", hostname = "git",
    address = address, port = PORT }
  if not ok then error(fail { "the Git server does not start: " .. tostring(why), code = "emulator" }) end
  server = { address = address, host_key = (fs.read(path .. "/root/etc/ssh/ssh_host_ed25519_key.pub") or ""):match("^(%S+ %S+)") }
  return server
end

local function up() return server or once("git", start) end

-- A real machine's 127.0.0.0/8 is its own: what runs there finds the server on its internet.
local function name_on_internet(where)
  require("emulator.machines.internet").offer(NAME, 22, { host = where.address, port = PORT })
  return { url = ("ssh://git@%s/%%s.git"):format(NAME), known_hosts = { NAME .. " " .. where.host_key },
    connect_to = ("%s:%d"):format(where.address, PORT) }
end

local function shown(repository)
  local where = up()
  local outside = world.backend == "systemd" and name_on_internet(where)
  return { url = outside and outside.url:format(repository.name) or ("ssh://git@%s:%d/%s.git"):format(where.address, PORT, repository.name), branch = repository.branch,
    key = fs.read(repository.key_file), deploy_key = fs.read(repository.deploy_key_file), key_file = repository.key_file,
    known_hosts = outside and outside.known_hosts or { ("[%s]:%d %s"):format(where.address, PORT, where.host_key) },
    connect_to = outside and outside.connect_to or nil }
end

local function make(name, branch)
  up()
  local there = world.store:get(TABLE, name)
  if there then return there end
  local keys = world.dir .. "/git-keys"
  fail.check(fs.mkdir(keys, 448))
  local repository = { name = name, branch = branch, key_file = keys .. "/" .. name, deploy_key_file = keys .. "/" .. name .. "-deploy" }
  for file, public in pairs { key_file = "public_key", deploy_key_file = "deploy_public_key" } do
    local pair = fail.check(crypto.keypair("ed25519", { comment = name .. "@emulator" }))
    fail.check(fs.write(repository[file], pair.private, { mode = 384 }))
    repository[public] = pair.public
  end
  fail.check(git.init { path = ("%s/root/%s.git"):format(folder(), name), bare = true, branch = branch })
  world.store:put(TABLE, name, repository)
  write_keys()
  world.writes.add("git", "PUT", name, 201)
  return repository
end

local function remove(repository)
  fs.remove(("%s/root/%s.git"):format(folder(), repository.name), { recursive = true })
  fs.remove(repository.key_file)
  fs.remove(repository.deploy_key_file)
  world.store:delete(TABLE, repository.name)
  write_keys()
end

local function answer(status, body) return { status = status, json = body or {} } end

local function name_of(req) return req.path:match("/([%w][%w._-]*)$") end

local function on_get(req)
  local repository = world.store:get(TABLE, name_of(req) or "")
  return repository and answer(200, shown(repository)) or answer(404)
end

local function on_put(req)
  local name = name_of(req)
  if not name then return answer(400, { error = { code = "BadRequest", message = "this is no name for a repository" } }) end
  local body = require("json").decode(req.body or "") or {}
  local repository = world.store:get(TABLE, name)
  return answer(200, shown(repository or once("git " .. name, make, name, body.branch or "main")))
end

local function on_delete(req)
  local repository = world.store:get(TABLE, name_of(req) or "")
  if repository then remove(repository) end
  return answer(repository and 200 or 404)
end

--- The repositories, for `emulator list`.
function M.list()
  local list = {}
  for name in world.store:each(TABLE) do list[#list + 1] = name end
  return list
end

--- Begins to answer /emulator/git/NAME, and serves what there is.
function M.start(backend)
  machines = backend
  admin.route("GET /emulator/git/*", on_get)
  admin.route("PUT /emulator/git/*", on_put)
  admin.route("DELETE /emulator/git/*", on_delete)
  backend.on_restart = function()
    server = nil
    if #M.list() > 0 then up() end
  end
  if #M.list() > 0 then up() end
end

return M
