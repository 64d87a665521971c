--- The packages that emulated machines can install, by repository: versions, what else they need, what they bring (units,
-- commands). A version "*" stands for any patch of the repository's minor release.
local admin, world = require "emulator.admin", require "emulator.world"

local packages = {}

--- Debian's archive, and the package of the kernel that each machine has.
packages.DEBIAN, packages.KERNEL = "http://deb.debian.org/debian", "linux-image-cloud-amd64"

local function plain(version, commands) return { versions = { version }, commands = commands or {} } end

local DEBIAN = {
  ["ca-certificates"] = plain("20230311"), curl = plain("7.88.1-10+deb12u12"), wget = plain("1.21.3-1+deb12u1"),
  conntrack = plain("1:1.4.7-1+b2", { "conntrack" }), ebtables = plain("2.0.11-5", { "ebtables" }),
  ethtool = plain("1:6.1-1", { "ethtool" }), socat = plain("1.7.4.4-2", { "socat" }), iptables = plain("1.8.9-2", { "iptables" }),
  [packages.KERNEL] = plain("6.1.140-1"),
  ["apt-transport-https"] = plain("2.6.1"), gnupg = plain("2.2.40-1.1"), jq = plain("1.6-2.1"), nginx = plain("1.22.1-9"),
  ["python3-pip"] = plain("23.0.1+dfsg-1"), ["software-properties-common"] = plain("0.99.30-4.1~deb12u1"), runc = plain("1.1.5+ds1-1"),
  containerd = { versions = { "1.6.20~ds1-1+deb12u1" }, units = { "containerd" }, commands = { "containerd", "ctr" }, needs = { "runc" } },
}

local DOCKER = {
  ["containerd.io"] = { versions = { "2.3.2-1~debian.12~bookworm", "2.2.0-1~debian.12~bookworm", "1.7.28-1~debian.12~bookworm" },
    units = { "containerd" }, commands = { "containerd", "ctr" } },
}

-- pkgs.k8s.io has one repository for each minor release.
local function kubernetes(minor)
  local version = minor .. ".*-1.1"
  return {
    kubeadm = { versions = { version }, commands = { "kubeadm" }, needs = { "cri-tools" } },
    kubelet = { versions = { version }, commands = { "kubelet" }, units = { "kubelet" },
      needs = { "kubernetes-cni", "iptables", "conntrack", "ebtables", "ethtool", "socat" } },
    kubectl = { versions = { version }, commands = { "kubectl" } },
    ["cri-tools"] = { versions = { minor .. ".0-1.1" }, commands = { "crictl" } },
    ["kubernetes-cni"] = { versions = { "1.7.1-1.1" } },
  }
end

-- What Debian has published since an emulator began, oldest first: { name, version, security, restart }.
local function published() return world.store:get("world", "packages") or {} end

--- How much has been published: what lists that are fetched now know of.
function packages.serial() return #published() end

--- The newest of a package of Debian's in lists of a serial: { name, version, security, restart }; nil when none came since.
function packages.newest(name, serial)
  local list = published()
  for i = math.min(serial, #list), 1, -1 do if list[i].name == name then return list[i] end end
end

--- What a repository at a URL offers; nil when nobody answers there.
function packages.at(url)
  if url:find("deb.debian.org", 1, true) or url:find("archive.ubuntu.com", 1, true) then return DEBIAN end
  if url:find("^https?://download%.docker%.com/linux/%a+") then return DOCKER end
  local minor = url:match("^https?://pkgs%.k8s%.io/core:/stable:/v(%d+%.%d+)/deb")
  return minor and kubernetes(minor) or nil
end

--- The newest version of a package that fits a wanted one ("1.36.1-*", exact, or nil for any).
function packages.choose(package, wanted)
  for _, version in ipairs(package.versions) do
    if version:find("*", 1, true) then
      local before, after = version:match("^(.*)%*(.*)$")
      local patch
      if not wanted then
        patch = "2"
      else
        local text = wanted:gsub("%*$", "")
        if text:sub(1, #before) == before then
          patch = text:sub(#before + 1):match("^(%d+)")
          local full = patch and before .. patch .. after
          if not full or (wanted:sub(-1) ~= "*" and wanted ~= full) or full:sub(1, #text) ~= text then patch = nil end
        elseif before:sub(1, #text) == text then
          patch = "2"
        end
      end
      if patch then return before .. patch .. after end
    elseif not wanted or version == wanted or (wanted:sub(-1) == "*" and version:sub(1, #wanted - 1) == wanted:sub(1, -2)) then
      return version
    end
  end
end

--- Debian publishes a newer version of one of its packages: `name`, `version`; `security=1`; `restart=1`: it asks for one.
admin.route("POST /emulator/packages", function(req)
  local q = req.query
  if not (DEBIAN[q.name or ""] and q.version) then
    return { status = 400, json = { error = { code = "BadRequest", message = "wants name=, of Debian's packages, and version=" } } }
  end
  local list = published()
  list[#list + 1] = { name = q.name, version = q.version, security = q.security == "1", restart = q.restart == "1" }
  world.store:put("world", "packages", list)
  return { status = 200, json = list[#list] }
end)

return packages
