--- A private endpoint: an address in a subnet for a resource that is otherwise reached over public ones.
local statement, field, json = require "azure.statement", require "field", require "json"

local API = "2025-05-01"
local AUTOMATIC, MANUAL = "privateLinkServiceConnections", "manualPrivateLinkServiceConnections"

local function target_of(f) return type(f.target) == "table" and f.target.id or f.target end

local function connection_of(body)
  for _, list in ipairs { AUTOMATIC, MANUAL } do
    local first = (statement.get(body, "properties." .. list) or {})[1]
    if first then return first.properties, list end
  end
  return {}, AUTOMATIC
end

return statement.define {
  kind = "private_endpoint", doc = "A private endpoint.", type = "Microsoft.Network/privateEndpoints", api = API,
  read_only = { "properties.networkInterfaces", "properties.customDnsConfigs", "properties.resourceGuid" },
  fields = {
    name = field.string { required = true, replace = true, default_name = true, match = "^[%w][%w_.-]*$", max = 80,
      doc = "The name in Azure; the resource's own name unless given." },
    subnet = field.resource { "azure.subnet", "azure.existing", required = true, replace = true, arm = "properties.subnet",
      doc = "The subnet that it has its address in." },
    target = field.any { required = true, replace = true, doc = "The resource that it leads to, or that one's id." },
    groups = field.list { field.string {}, replace = true, doc = "What of the resource, such as blob or vault." },
    manual = field.boolean { default = false, replace = true, doc = "Whether the resource's owner has to approve it." },
    request_message = field.string { replace = true, max = 140, doc = "What the owner reads, where it is manual." },
    interface_name = field.string { replace = true, match = "^[%w][%w_.-]*$", max = 80, arm = "properties.customNetworkInterfaceName",
      doc = "The name of its network interface; else Azure makes one." },
    addresses = field.list { field.object {
      name = field.string { required = true, arm = "name" },
      group = field.string { arm = "properties.groupId", doc = "One of `groups`." },
      member = field.string { arm = "properties.memberName", doc = "A member of that group, often of the same name." },
      ip = field.ip { required = true, arm = "properties.privateIPAddress" },
    }, key = "name", replace = true, arm = "properties.ipConfigurations", doc = "Fixed private addresses; else the first free one." },
  },
  outputs = {
    private_ip = field.string { doc = "The private address." },
    interface_id = field.string { doc = "The id of its network interface." },
    state = field.string { volatile = true, doc = "Approved, Pending, Rejected or Disconnected." },
  },
  check = function(f, problem)
    if f.request_message ~= nil and f.manual == false then
      problem({ "request_message" }, "'request_message' is of a manual endpoint")
    end
  end,
  body = function(f, body)
    body.properties[AUTOMATIC], body.properties[MANUAL] = nil, nil
    body.properties[f.manual and MANUAL or AUTOMATIC] = json.array { { name = f.name, properties = {
      privateLinkServiceId = target_of(f), groupIds = f.groups and json.array(f.groups), requestMessage = f.request_message } } }
  end,
  observed = function(f, body)
    local connection, list = connection_of(body)
    local function same(want, got, given)
      if want == nil then return nil end
      return statement.matches(want, got) and given or got or json.null
    end
    return { target = same(target_of(f), connection.privateLinkServiceId, f.target),
      groups = f.groups and same(json.array(f.groups), connection.groupIds, f.groups),
      manual = list == MANUAL, request_message = same(f.request_message, connection.requestMessage, f.request_message) }
  end,
  found = function(_, client, body, outputs)
    outputs.state = statement.get(connection_of(body), "privateLinkServiceConnectionState.status")
    local interface = (statement.get(body, "properties.networkInterfaces") or {})[1]
    if not interface then return end
    outputs.interface_id = interface.id
    local shown = client:get(interface.id, API)
    local first = shown and (statement.get(shown, "properties.ipConfigurations") or {})[1]
    outputs.private_ip = first and first.properties.privateIPAddress
  end,
}
