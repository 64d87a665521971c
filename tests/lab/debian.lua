--- Real Debian 12 roots for tests: an overlay over what debian_root.sh made, in namespaces of its own, with a real sshd in it.
-- As tests/lua/machine.lua's machines, but with users, tools, packages and a network of its own: a cable to ours, which
-- lab-roots.sh has made apart from the machine's. Needs root.
local crypto = require "crypto"
local fs = require "fs"
local process = require "process"
local ssh = require "ssh"
local task = require "task"

local M = {}

local SSHD = [[
HostKey /etc/ssh/host_ed25519
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PrintMotd no
UseDNS no
LogLevel ERROR
PermitRootLogin yes
PidFile none
]]

-- Nothing starts these roots: what starts with them is only written down.
local SYSTEMCTL = [[#!/bin/sh
for name; do :; done
mkdir -p /etc/starts
case $1 in
enable) : >"/etc/starts/${name%.service}" ;;
is-enabled) if [ -e "/etc/starts/${name%.service}" ]; then echo enabled; else echo disabled; exit 1; fi ;;
*) echo "systemctl $*: there is no systemd here" >&2; exit 1 ;;
esac
]]

-- All that is mounted or running goes with the namespaces. Of the kernel's settings only those of the network are the root's own.
local BOOT = [[set -e
mount -t proc proc /proc
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
cd "$2/root"
mount -t proc proc proc; mount --rbind /dev dev; mount -t sysfs -o ro sysfs sys; mount -t tmpfs tmpfs run
mount --bind proc/sys/net proc/sys/net; mount --rbind proc/sys proc/sys; mount -o remount,ro,bind proc/sys
mkdir -p run/sshd
hostname fresh
echo made; read -r plugged
ip link set lo up
ip address add "$3/30" dev eth0
ip link set eth0 up
exec chroot . /usr/sbin/sshd -D -e -f /etc/ssh/sshd_config]]

local function output(argv)
  local result = assert(process.run { argv = argv, timeout = 900 })
  assert(result.code == 0, table.concat(argv, " ") .. ": " .. result.stderr)
  return (result.stdout:gsub("%s+$", ""))
end

local base, counter = nil, 0

--- Starts one. ports: where its sshd answers besides 22. @return as machine.start of tests/lua/machine.lua, without `command`,
-- `up` and `down`; `gateway` is our end of its cable, `answers(port)` whether somebody does there
function M.start(t, here, ports)
  base = base or output { here .. "/debian_root.sh" }
  for name in assert(fs.read "/proc/net/dev"):gmatch "(%S+):" do
    assert(name == "lo" or name:find "^root%d+$", "roots are plugged into a network of their own: run tests/e2e/lab-roots.sh")
  end
  counter = counter + 1
  local dir = t.tmp()
  for _, name in ipairs { "upper", "work", "root" } do assert(fs.mkdir(dir .. "/" .. name, 493)) end
  local key, client = crypto.keypair("ed25519", { comment = "host" }), crypto.keypair("ed25519", { comment = "client" })
  local machine = { dir = dir, user = "root", key = client.private, host_keys = { key.public:match("^%S+ %S+") },
    host = ("10.84.%d.2"):format(counter), gateway = ("10.84.%d.1"):format(counter), port = 22 }
  machine.address = machine.host
  local files = { ["etc/ssh/host_ed25519"] = key.private, ["root/.ssh/authorized_keys"] = client.public .. "\n",
    ["etc/ssh/sshd_config"] = ("Port %d\n"):rep(1 + #(ports or {})):format(22, table.unpack(ports or {})) .. SSHD,
    ["etc/apt/sources.list"] = "", ["etc/hostname"] = "fresh\n", ["etc/hosts"] = "127.0.0.1 localhost\n",
    ["usr/local/sbin/systemctl"] = SYSTEMCTL }
  for path, text in pairs(files) do
    assert(fs.mkdir((dir .. "/upper/" .. path):match("^(.*)/"), path:find("^root") and 448 or 493))
    local mode = path:find "sbin" and 493 or (path:find "ed25519" or path:find "keys") and 384 or 420
    assert(fs.write(dir .. "/upper/" .. path, text, { mode = mode }))
  end
  local child = assert(process.spawn { argv = { "unshare", "--mount", "--pid", "--uts", "--net", "--fork",
    "--kill-child=KILL", "sh", "-c", BOOT, "sh", base, dir, machine.host },
    stdin = "pipe", stdout = "pipe", stderr = dir .. "/log" })
  t.after(function()
    child:kill("TERM")
    if not child:wait(10) then child:kill("KILL") end
    child:close()
  end)
  assert(child:read() == "made\n", fs.read(dir .. "/log"))
  local cable = "root" .. counter
  output { "ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", ("%d"):format(child.pid) }
  output { "ip", "address", "add", machine.gateway .. "/30", "dev", cable }
  output { "ip", "link", "set", cable, "up" }
  child:write "plugged\n"
  local deadline = task.now() + 10
  while not ssh.scan { host = machine.host, port = machine.port, timeout = 5 } do
    assert(task.now() < deadline, "the root's sshd does not answer: " .. (fs.read(dir .. "/log") or ""))
    task.sleep(0.05)
  end
  local pid = (assert(fs.read(("/proc/%d/task/%d/children"):format(child.pid, child.pid)))):match("%d+")
  machine.root = "/proc/" .. pid .. "/root"

  function machine.run(argv, stdin)
    local full = { "nsenter", "-t", pid, "-m", "-p", "-u", "-n", "-r", "-w", "--" }
    table.move(argv, 1, #argv, #full + 1, full)
    return assert(process.run { argv = full, stdin = stdin or "", timeout = 120,
      env = { PATH = "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin" } })
  end
  function machine.sh(text)
    local result = machine.run { "/usr/bin/dash", "-c", text }
    assert(result.code == 0, text .. ": " .. result.stderr)
    return (result.stdout:gsub("\n$", ""))
  end
  function machine.answers(port) return ssh.scan { host = machine.host, port = port, timeout = 1 } ~= nil end
  function machine.read(path) return fs.read(machine.root .. path) end
  function machine.write(path, text, mode)
    fs.mkdir((machine.root .. path):match("^(.*)/"), 493)
    return assert(fs.write(machine.root .. path, text, { mode = mode }))
  end
  return machine
end

return M
