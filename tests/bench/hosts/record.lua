--- Stands in for stdlib/ssh.lua (which is then `ssh_plain`) and writes down what is sent to hosts, below VMRUN_BENCH_RECORD:
-- HOST:PORT/N.command and HOST:PORT/N.stdin for the N-th command on a host.
local fs, process = require "fs", require "process"
local core = require "ssh_core"
local plain = require "ssh_plain"
local folder = process.env "VMRUN_BENCH_RECORD"
local session, channel = core.session, core.channel
local start, queue, write = session.start, channel.queue, channel.write
local counts, files = {}, setmetatable({}, { __mode = "k" })

function session:start(command, pty)
  local host = self:label()
  counts[host] = (counts[host] or 0) + 1
  local base = ("%s/%s/%d"):format(folder, host, counts[host])
  fs.mkdir(base:match("^(.*)/"), 448)
  assert(fs.write(base .. ".command", command or ""))
  local ch = start(self, command, pty)
  files[ch] = assert(io.open(base .. ".stdin", "w"))
  return ch
end

local function recorded(plainly)
  return function(self, data, timeout, from, to)
    files[self]:write(data:sub(from or 1, to or -1)):flush()
    return plainly(self, data, timeout, from, to)
  end
end
channel.queue, channel.write = recorded(queue), recorded(write)

return plain
