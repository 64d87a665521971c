-- Azure's cloud provider, where it is wanted: Services get load balancers, claims get disks, Nodes
-- say their machine, zone and size. It is an identity of its own that control planes have, with the
-- roles that it needs on what the cluster is made of. Not wanted, all of these do nothing.
local azure, cloud_provider = use("azure", "cloud_provider")

local function same(list) return list end
local function nothing() end

return function(p, own, place)
  if not p.cloud_provider then return { identities = same, manage = nothing } end
  local identity = azure.user_assigned_identity "cloud" (own("cloud", {}))
  local granted = {}
  local function may(name, role, scope)
    granted[#granted + 1] = azure.role_assignment(name) {
      scope = scope, principal = identity, role = role }
  end
  may("cloud-machines", "Virtual Machine Contributor", place.group)
  may("cloud-network", "Network Contributor", place.group)
  -- A network that was there is outside of the group, and so are the rules of its subnet.
  if place.network then may("cloud-subnet", "Network Contributor", place.subnet) end
  local rules = place.rules or azure.existing "rules" {
    id = place.subnet.body.properties.networkSecurityGroup.id }
  if not place.rules then may("cloud-rules", "Network Contributor", rules) end
  if place.encryption then may("cloud-encryption", "Reader", place.encryption) end

  local cloud = {}

  -- The identities of a control plane: the first stays what others know the machine by.
  function cloud.identities(list) return concat(list, { identity }) end

  -- The programs in the cluster. They come with the first control plane: Nodes wait for them.
  function cloud.manage(cluster)
    local replicas = p.control_planes > 1 and 2 or 1
    local provider = cloud_provider.azure "azure" {
      cluster = cluster, version = p.version, cluster_name = p.name, group = place.group,
      location = place.network and place.network.location, subnet = place.subnet,
      security_group = rules, identity = identity, replicas = replicas, after = granted,
      disable_outbound_snat = true, -- machines go out by the NAT gateway, or as their network does
    }
    return cloud_provider.azure_disk "disks" {
      cluster = cluster, provider = provider, replicas = replicas,
      encryption_set = place.encryption, disks = "Premium_LRS",
    }
  end

  return cloud
end
