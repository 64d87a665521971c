--- The disk of a machine: a plain directory tree like a fresh Debian's, with the system's /usr bound into it by the keeper.
local crypto, fs, process = require "crypto", require "fs", require "process"
local fail, once = require "fail", require "emulator.once"

local root = {}

local FOLDERS = { "usr", "proc", "sys", "dev", "run/sshd", "run/lock", "tmp", "root/.ssh", "home", "opt", "srv", "mnt", "boot",
  "etc/ssh", "etc/apt/sources.list.d", "etc/apt/keyrings", "etc/apt/apt.conf.d", "etc/sysctl.d", "etc/modules-load.d",
  "etc/systemd/system", "etc/sudoers.d", "etc/default", "etc/profile.d", "etc/cni/net.d", "var/lib/dpkg", "var/lib/apt/lists",
  "var/cache/apt/archives", "var/log", "var/tmp", "var/spool/cron" }
local LINKS = { bin = "usr/bin", sbin = "usr/sbin", lib = "usr/lib", lib64 = "usr/lib64", ["var/run"] = "../run", ["var/lock"] = "../run/lock" }

local SSHD = [[
Port 22
HostKey /etc/ssh/ssh_host_ed25519_key
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
AllowTcpForwarding yes
PrintMotd no
PrintLastLog no
UseDNS no
PidFile none
SetEnv PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
Subsystem sftp internal-sftp
]]

local OS = {
  debian = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\nVERSION_ID="12"\nVERSION="12 (bookworm)"\n'
    .. 'VERSION_CODENAME=bookworm\nID=debian\n',
  jammy = 'PRETTY_NAME="Ubuntu 22.04.5 LTS"\nNAME="Ubuntu"\nVERSION_ID="22.04"\nVERSION="22.04.5 LTS (Jammy Jellyfish)"\n'
    .. 'VERSION_CODENAME=jammy\nID=ubuntu\nID_LIKE=debian\n',
  noble = 'PRETTY_NAME="Ubuntu 24.04.2 LTS"\nNAME="Ubuntu"\nVERSION_ID="24.04"\nVERSION="24.04.2 LTS (Noble Numbat)"\n'
    .. 'VERSION_CODENAME=noble\nID=ubuntu\nID_LIKE=debian\n',
}

local function os_release(image)
  image = (image or ""):lower()
  if image:find("jammy") or image:find("22_04") then return OS.jammy end
  if image:find("ubuntu") then return OS.noble end
  return OS.debian
end

-- Hundreds of links are shared as they are, which nobody can write through; the few files are copies of each machine's own.
local SHARE = [[cp -al "$1/." "$2/" && cd "$1" && find . -type f -exec cp -p --parents --remove-destination -t "$2" {} +]]

local function put(path, text, mode) fail.check(fs.write(path, text, { mode = mode or 420, atomic = false })) end

local function copy_base(path)
  if fs.stat(path) then return end
  local names = {}
  for _, name in ipairs { "alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "services", "protocols", "ssl/certs" } do
    if fs.stat("/etc/" .. name, { follow = true }) then names[#names + 1] = "./" .. name end
  end
  -- It gets its name when it is whole: tar makes links last, and may be killed.
  local scratch = path .. ".new"
  if fs.stat(scratch) then fail.check(fs.remove(scratch, { recursive = true })) end
  fail.check(fs.mkdir(scratch .. "/etc", 493))
  local argv = { "/bin/sh", "-c", 'cd /etc && tar cf - "$@" 2>/dev/null | tar xf - --no-same-owner -C "$0"', scratch .. "/etc" }
  for _, name in ipairs(names) do argv[#argv + 1] = name end
  local result = fail.check(process.run { argv = argv, timeout = 60 })
  if result.code ~= 0 then
    error(fail { ("the system's /etc could not be copied to %s: %s"):format(scratch, result.stderr), code = "io" })
  end
  fail.check(fs.rename(scratch, path))
end

--- What all roots of an emulator have in common of the system's /etc: made once, by the first that asks.
local function base(dir)
  local path = dir .. "/machines/base"
  once(path, copy_base, path)
  return path
end

local function accounts(tree, user)
  put(tree .. "/etc/passwd", ("root:x:0:0:root:/root:/bin/bash\n%s:x:0:0::/home/%s:/bin/bash\nsshd:x:0:0::/run/sshd:/usr/sbin/nologin\n"
    .. "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"):format(user, user))
  put(tree .. "/etc/group", ("root:x:0:\ntty:x:0:\nsudo:x:27:%s\nnogroup:x:65534:\n"):format(user))
  put(tree .. "/etc/shadow", ("root:*:19000:0:99999:7:::\n%s:*:19000:0:99999:7:::\nsshd:*:19000:0:99999:7:::\n"):format(user), 416)
end

--- Makes the disk of a machine: { key (folder), hostname, user, public_key, image }. Returns the root's path.
function root.make(dir, machine)
  local shared = base(dir)
  local folder = dir .. "/machines/" .. machine.key
  local tree = folder .. "/root"
  for _, path in ipairs(FOLDERS) do fail.check(fs.mkdir(tree .. "/" .. path, 493)) end
  fs.chmod(folder, 448)
  fs.chmod(tree .. "/root", 448)
  fs.chmod(tree .. "/tmp", 1023)
  for from, to in pairs(LINKS) do fs.symlink(to, tree .. "/" .. from) end
  local copied = fail.check(process.run { argv = { "/bin/sh", "-c", SHARE, "sh", shared .. "/etc", tree .. "/etc" }, timeout = 60 })
  if copied.code ~= 0 then error(fail { ("%s could not be made: %s"):format(tree, copied.stderr), code = "io" }) end
  accounts(tree, machine.user)
  put(tree .. "/etc/hostname", machine.hostname .. "\n")
  put(tree .. "/etc/hosts", "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n")
  put(tree .. "/etc/os-release", os_release(machine.image))
  put(tree .. "/etc/debian_version", "12.11\n")
  put(tree .. "/etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n")
  put(tree .. "/etc/resolv.conf", "nameserver 168.63.129.16\n")
  put(tree .. "/etc/fstab", "/dev/sda1 / ext4 rw,discard,errors=remount-ro 0 1\n/dev/sdb2 none swap sw 0 0\n")
  put(tree .. "/etc/profile", "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n")
  put(tree .. "/etc/ssh/sshd_config", SSHD)
  put(tree .. "/etc/sudoers.d/90-cloud-init-users", machine.user .. " ALL=(ALL) NOPASSWD:ALL\n", 288)
  local pair = fail.check(crypto.keypair("ed25519", { comment = "root@" .. machine.hostname }))
  put(tree .. "/etc/ssh/ssh_host_ed25519_key", pair.private, 384)
  put(tree .. "/etc/ssh/ssh_host_ed25519_key.pub", pair.public .. "\n")
  local home = tree .. "/home/" .. machine.user
  fail.check(fs.mkdir(home, 493))
  fail.check(fs.mkdir(home .. "/.ssh", 448))
  put(home .. "/.ssh/authorized_keys", (machine.public_key or "") .. "\n", 384)
  return tree
end

--- Where the machine's stand-ins reach the emulator.
function root.address(tree, address, port, token)
  put(tree .. "/etc/vmrun-machine", ("%s %d %s\n"):format(address, port, token), 384)
end

return root
