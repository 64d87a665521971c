--- What the first boot writes to the disk of a machine with systemd, before systemd is there: who it is, who may log in, what the
-- kernel that it shares does not let it do.
local crypto, fs = require "crypto", require "fs"
local debian = require "emulator.machines.debian"
local fail = require "fail"

-- Units for a kernel of one's own, and those that would fetch something by themselves.
local MASKED = { "systemd-udevd.service", "systemd-udevd-control.socket", "systemd-udevd-kernel.socket", "systemd-udev-trigger.service",
  "systemd-modules-load.service", "systemd-remount-fs.service", "systemd-binfmt.service", "proc-sys-fs-binfmt_misc.automount",
  "sys-kernel-debug.mount", "sys-kernel-tracing.mount", "sys-kernel-config.mount", "sys-fs-fuse-connections.mount", "dev-hugepages.mount",
  "getty@tty1.service", "console-getty.service", "apt-daily.timer", "apt-daily-upgrade.timer", "fstrim.timer" }

local SSHD = "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nUseDNS no\nMaxStartups 100\n"

local ACCOUNT = [[set -e
id "$1" >/dev/null 2>&1 || useradd --create-home --shell /bin/bash --groups adm,sudo --password '*' "$1"
home=$(getent passwd "$1" | cut -d: -f6)
install -d -m 700 -o "$1" -g "$(id -gn "$1")" "$home/.ssh"
cat >"$home/.ssh/authorized_keys"
chown "$1:" "$home/.ssh/authorized_keys"
chmod 600 "$home/.ssh/authorized_keys"
]]

local function sources()
  local mirror, lines = debian.mirror(), {}
  for _, suite in ipairs { "bookworm", "bookworm-updates" } do lines[#lines + 1] = ("deb %s %s main"):format(mirror, suite) end
  lines[#lines + 1] = ("deb %s-security bookworm-security main"):format(mirror)
  return table.concat(lines, "\n") .. "\n"
end

-- A kernel without a folder of modules has built in what the machines need: modprobe is told so.
local function built_in()
  local release = fail.check(fs.read "/proc/sys/kernel/osrelease"):match("%S+")
  if fs.stat("/lib/modules/" .. release) then return nil end
  local names = fs.list "/sys/module" or {}
  if ("\n" .. (fs.read "/proc/filesystems" or "")):find("\toverlay\n", 1, true) then names[#names + 1] = "overlay" end
  if fs.stat "/proc/sys/net/bridge" then names[#names + 1] = "br_netfilter" end
  table.sort(names)
  local lines = {}
  for i, name in ipairs(names) do lines[i] = ("kernel/%s.ko\n"):format(name) end
  return "/lib/modules/" .. release, table.concat(lines)
end

--- Writes it: `files` are the custom data's ({ path, content, mode, append }); `run(argv, stdin)` runs a command in the root.
return function(machine, files, run)
  local function put(path, text, mode, append)
    local real = fail.check(machine:path(path))
    fail.check(fs.mkdir(real:match("^(.*)/"), 493))
    fail.check(fs.write(real, text, { mode = mode or 420, append = append or nil, atomic = false }))
  end
  local pair = fail.check(crypto.keypair("ed25519", { comment = "root@" .. machine.hostname }))
  machine.host_key = pair.public:match("^%S+ %S+")
  put("/etc/ssh/ssh_host_ed25519_key", pair.private, 384)
  put("/etc/ssh/ssh_host_ed25519_key.pub", pair.public .. "\n")
  put("/etc/ssh/sshd_config.d/50-cloud-init.conf", SSHD, 384)
  put("/etc/hostname", machine.hostname .. "\n")
  put("/etc/hosts", "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n")
  put("/etc/machine-id", crypto.sha256(machine.vm_id or machine.id):sub(1, 32) .. "\n", 292)
  fs.remove(fail.check(machine:path("/etc")) .. "/resolv.conf")
  put("/etc/resolv.conf", "nameserver 168.63.129.16\n")
  put("/etc/fstab", "")
  put("/etc/systemd/journald.conf.d/50-machine.conf", "[Journal]\nReadKMsg=no\n") -- all machines share what the kernel says
  put("/etc/apt/sources.list", sources())
  put(("/etc/sudoers.d/90-cloud-init-users"), machine.user .. " ALL=(ALL) NOPASSWD:ALL\n", 288)
  local folder, modules = built_in()
  if folder then
    put(folder .. "/modules.builtin", modules)
    put(folder .. "/modules.order", "")
    run { "depmod" }
  end
  for _, unit in ipairs(MASKED) do
    local path = fail.check(machine:path("/etc/systemd/system")) .. "/" .. unit
    fs.remove(path)
    fail.check(fs.symlink("/dev/null", path))
  end
  local made = run({ "/bin/sh", "-c", ACCOUNT, "sh", machine.user }, (machine.public_key or "") .. "\n")
  if made.code ~= 0 then
    error(fail { ("the account %s of %s cannot be made: %s"):format(machine.user, machine.hostname, made.stderr), code = "machine" })
  end
  for _, file in ipairs(files) do put(file.path, file.content, file.mode, file.append) end
end
