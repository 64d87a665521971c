--- A name of a private DNS zone with its IPv4 addresses: a record set of type A.
local statement, field, json = require "azure.statement", require "field", require "json"

local function to_records(addresses)
  local records = {}
  for i, address in ipairs(addresses) do records[i] = { ipv4Address = address } end
  return json.array(records)
end

local function from_records(records)
  local addresses = {}
  for i, record in ipairs(records) do addresses[i] = record.ipv4Address end
  return json.array(addresses)
end

return statement.define {
  kind = "private_dns_record", doc = "A record set of type A of a private DNS zone.", type = "Microsoft.Network/privateDnsZones/A",
  api = "2024-06-01", parent = "zone", located = false,
  fields = {
    name = field.string { required = true, replace = true, default_name = true, match = "^[%w@*_][%w_.-]*$", max = 253,
      doc = "The name below the zone, @ for the zone itself; the resource's own name unless given." },
    zone = field.resource { "azure.private_dns_zone", "azure.existing", required = true, replace = true, doc = "The zone." },
    ttl = field.integer { default = 3600, min = 1, max = 2147483647, arm = "properties.ttl", doc = "Seconds that an answer may be kept." },
    addresses = field.list { field.ip {}, required = true, min = 1, max = 20, unordered = true, arm = "properties.aRecords",
      to = to_records, from = from_records, doc = "IPv4 addresses." },
    metadata = field.map { field.string {}, arm = "properties.metadata" },
  },
  outputs = { fqdn = field.string { arm = "properties.fqdn", doc = "The whole name, with its last dot." } },
  check = function(f, problem)
    for i, address in ipairs(type(f.addresses) == "table" and f.addresses or {}) do
      if type(address) == "string" and address:find(":", 1, true) then
        problem({ "addresses", i }, ("'addresses[%d]' wants an IPv4 address, got \"%s\""):format(i, address))
      end
    end
  end,
  body = function(_, body) body.properties.fqdn, body.properties.isAutoRegistered = nil, nil end,
}
