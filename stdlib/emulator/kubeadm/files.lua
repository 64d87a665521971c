--- Files below a machine's root, as kubeadm writes them: with modes, made folders and atomic contents.
local fs = require "fs"

local files = {}

local PUBLIC, PRIVATE = tonumber("644", 8), tonumber("600", 8)

--- Writes a file; private: mode 0600.
function files.write(machine, path, text, private)
  local full = machine.root .. path
  local ok, why = fs.mkdir(full:match("^(.*)/"), tonumber("755", 8))
  if ok == nil then return nil, why end
  return fs.write(full, text, { mode = private and PRIVATE or PUBLIC })
end

function files.read(machine, path) return fs.read(machine.root .. path) end

function files.exists(machine, path) return fs.stat(machine.root .. path) ~= nil end

--- Are there entries in a folder?
function files.filled(machine, path)
  local list = fs.list(machine.root .. path)
  return list ~= nil and #list > 0
end

--- Removes everything in a folder, but not itself.
function files.empty(machine, path)
  for _, name in ipairs(fs.list(machine.root .. path) or {}) do
    fs.remove(machine.root .. path .. "/" .. name, { recursive = true })
  end
end

function files.remove(machine, path) fs.remove(machine.root .. path, { recursive = true }) end

return files
