--- Which versions of a cluster's parts may stand beside each other (https://kubernetes.io/releases/version-skew-policy/), and
-- what an upgrade to a version would break. Nothing is asked here: a survey (kubeadm/survey.lua) says what there is.
local release = require "kubernetes.release"
local compare, minor_of = release.compare, release.minor

local M = {}

-- Minor releases that a kubelet may be older than an API server of a version.
local function behind(version) return minor_of(version) >= 28 and 3 or 2 end

-- kubeadm goes on by one minor release, and an API server's neighbours may be one apart.
local function step(from, to)
  if compare(to, from) < 0 then return "that is a downgrade, which kubeadm does not do", "give version = " .. from .. " or a newer one" end
  local minors, major = minor_of(to) - minor_of(from), release.parse(from)[1]
  if release.parse(to)[1] ~= major or minors > 1 then
    local next_one = ("%d.%d"):format(major, minor_of(from) + 1)
    return ("that skips %s: an upgrade goes on by one minor release"):format(minors == 2 and next_one or "minor releases"),
      ("go to a release of %s first"):format(next_one)
  end
end

local function names_of(map)
  local names = {}
  for name in pairs(map) do names[#names + 1] = name end
  table.sort(names)
  return names
end

--- Why a cluster may not be upgraded to a version: a text and what to do; nil when it may.
-- survey: { version = the cluster's, nodes = { [name] = { kubelet =, api_server = } } }.
function M.objection(survey, to)
  if survey.version then
    local why, hint = step(survey.version, to)
    if why then return ("the cluster is at %s, and shall be at %s: %s"):format(survey.version, to, why), hint end
  end
  for _, name in ipairs(names_of(survey.nodes)) do
    local node = survey.nodes[name]
    if node.api_server then
      local why, hint = step(node.api_server, to)
      if why then return ("the API server of %s is at %s, and shall be beside %s: %s"):format(name, node.api_server, to, why), hint end
    end
    if node.kubelet and compare(node.kubelet, to) > 0 and minor_of(node.kubelet) > minor_of(to) then
      return ("the kubelet of %s is at %s, newer than %s"):format(name, node.kubelet, to), "a kubelet may not be newer than an API server"
    end
    if node.kubelet and minor_of(to) - minor_of(node.kubelet) > behind(to) then
      return ("the kubelet of %s is at %s, more than %d minor releases behind %s"):format(name, node.kubelet, behind(to), to),
        "bring that node up first"
    end
  end
end

--- The control planes that keep a worker from going to a version: those whose API server would be older than its kubelet, and
-- that the upgrade does not bring there.
function M.lagging(survey, to, upgraded)
  local list = {}
  for _, name in ipairs(names_of(survey.nodes)) do
    local node = survey.nodes[name]
    if node.api_server and compare(node.api_server, to) < 0 and not upgraded[name] then list[#list + 1] = name end
  end
  return list
end

--- The control planes of a survey that are not well: not Ready, or without a running etcd; one that is only starting is.
function M.unwell(survey, but)
  local list = {}
  for _, name in ipairs(names_of(survey.nodes)) do
    local node = survey.nodes[name]
    if node.control_plane and name ~= but and not (node.ready and (node.etcd ~= false or node.starting)) then list[#list + 1] = name end
  end
  return list
end

--- How many workers may be away at once: a number, or a share such as "25%" of `count`, rounded down, at least one, and never
-- all of several.
function M.limit(given, count)
  local share = tostring(given):match("^(%d+)%%$")
  if not share then return math.max(1, math.tointeger(tonumber(given)) or 1) end
  local limit = count * tonumber(share) // 100
  return math.max(1, math.min(limit, count - 1))
end

return M
