--- Microsoft.Network: public DNS zones, and the record sets of public and private ones.
local crypto, field, json = require "crypto", require "field", require "json"
local records, requests = require "emulator.arm.records", require "emulator.arm.requests"
local problem, style, value = require "emulator.arm.problem", require "emulator.arm.style", require "emulator.arm.value"
local ip = require "emulator.ip"

local raise = problem.raise
local PRIVATE, PUBLIC = "Microsoft.Network/privateDnsZones", "Microsoft.Network/dnsZones"
local LONGEST_TTL = 2147483647

local function bad_request(message) raise(400, "BadRequest", message) end

local function ipv4(text) return ip.number(text) ~= nil end
local function ipv6(text) return tostring(text):find(":", 1, true) ~= nil and field.is_ip(tostring(text)) end
local function word(text) return type(text) == "string" and text ~= "" and not text:find("%s") end
local function count(n) return math.type(n) == "integer" and n >= 0 and n <= 65535 end
local function texts(list) return type(list) == "table" and #list > 0 end

-- By type of record: where a body has its records (`one`: it has a single one), and what each of them needs.
local TYPES = {
  A = { list = "aRecords", needs = { ipv4Address = ipv4 }, noun = "IPv4 address" },
  AAAA = { list = "aaaaRecords", needs = { ipv6Address = ipv6 }, noun = "IPv6 address" },
  CNAME = { list = "cnameRecord", one = true, needs = { cname = word } },
  MX = { list = "mxRecords", needs = { preference = count, exchange = word } },
  PTR = { list = "ptrRecords", needs = { ptrdname = word } },
  SRV = { list = "srvRecords", needs = { priority = count, weight = count, port = count, target = word } },
  TXT = { list = "txtRecords", needs = { value = texts } },
  NS = { list = "nsRecords", needs = { nsdname = word }, public = true },
  SOA = { list = "soaRecord", one = true, needs = { host = word, email = word } },
  CAA = { list = "caaRecords", needs = { flags = count, tag = word, value = word }, public = true },
}

-- The API of public zones writes these names otherwise.
local PUBLIC_NAMES = { aRecords = "ARecords", aaaaRecords = "AAAARecords", cnameRecord = "CNAMERecord", mxRecords = "MXRecords",
  ptrRecords = "PTRRecords", srvRecords = "SRVRecords", txtRecords = "TXTRecords", nsRecords = "NSRecords",
  caaRecords = "caaRecords", soaRecord = "SOARecord" }

--- The four servers of a public zone; a zone that is made again has others.
local function servers(guid)
  local number, list = tonumber(guid:sub(1, 2), 16) % 40 + 1, {}
  for i, domain in ipairs { "com", "net", "org", "info" } do list[i] = ("ns%d-%02d.azure-dns.%s."):format(i, number, domain) end
  return json.array(list)
end

-- What a zone has of itself.
local GIVEN = {
  [PRIVATE .. "/SOA"] = function(zone)
    return { ttl = 3600, fqdn = zone.name .. ".", isAutoRegistered = false, soaRecord = { host = "azureprivatedns.net",
      email = "azureprivatedns-host.microsoft.com", serialNumber = 1, refreshTime = 3600, retryTime = 300, expireTime = 2419200,
      minimumTtl = 10 } }
  end,
  [PUBLIC .. "/SOA"] = function(zone)
    return { ttl = 3600, fqdn = zone.name .. ".", targetResource = {}, soaRecord = { host = servers(zone.private.guid)[1],
      email = "azuredns-hostmaster.microsoft.com", serialNumber = 1, refreshTime = 3600, retryTime = 300, expireTime = 2419200,
      minimumTTL = 300 } }
  end,
  [PUBLIC .. "/NS"] = function(zone)
    local list = json.array {}
    for i, name in ipairs(servers(zone.private.guid)) do list[i] = { nsdname = name } end
    return { ttl = 172800, fqdn = zone.name .. ".", targetResource = {}, nsRecords = list }
  end,
}

local function check_record(record, spec, ctx, seen)
  for name, good in pairs(spec.needs) do
    if not good(record[name]) then
      bad_request(spec.noun and ("The value '%s' is not a valid %s."):format(tostring(record[name]), spec.noun)
        or ("The record set '%s' has a record whose '%s' is missing or not valid."):format(ctx.name, name))
    end
  end
  local text = json.encode(record)
  if seen[text] then bad_request(("The record set '%s' has the record '%s' twice."):format(ctx.name, text)) end
  seen[text] = true
end

--- Checks the records of a set. A name that has a CNAME has nothing else.
local function check_set(p, kind, ctx)
  local spec, seen = TYPES[kind], {}
  local held = p[spec.list]
  if type(held) ~= "table" or not spec.one and #held == 0 then
    bad_request(("The record set '%s' of type '%s' cannot be empty."):format(ctx.name, kind))
  end
  if not spec.one then p[spec.list] = json.array(held) end
  for _, record in ipairs(spec.one and { held } or held) do check_record(record, spec, ctx, seen) end
  if math.type(p.ttl) ~= "integer" or p.ttl < 1 or p.ttl > LONGEST_TTL then
    bad_request(("The TTL of record set '%s' must be between 1 and %d."):format(ctx.name, LONGEST_TTL))
  end
  for other in records.each(nil, ctx.id.parent .. "/") do
    local theirs = other.type:match("[^/]+$")
    if theirs ~= kind and TYPES[theirs] and other.name:lower() == ctx.name:lower() and (kind == "CNAME" or theirs == "CNAME") then
      raise(409, "CnameRecordConflict",
        ("A CNAME record with name '%s' and other records of that name cannot be in one zone."):format(ctx.name))
    end
  end
end

local function full_name(ctx)
  local zone = ctx.id.names[1]:lower()
  return ctx.name == "@" and zone .. "." or ("%s.%s."):format(ctx.name:lower(), zone)
end

local tagged = value.fill({ etag = "guid", etag_on_put = true }, style.plain)
local NAME = "^[%w@*_][%w_.*-]*$"

-- A zone's own record set may be changed, as far as it is the person's: not its servers.
local function keep_given(kind, p, ctx, given)
  if kind ~= "SOA" or ctx.name ~= "@" then return end
  local was = ctx.old and ctx.old.body.properties or given(records.get(ctx.id.parent))
  p.ttl = p.ttl or was.ttl
  p.soaRecord = value.fill(type(p.soaRecord) == "table" and p.soaRecord or {}, was.soaRecord)
  p.soaRecord.host = was.soaRecord.host
end

for kind, spec in pairs(TYPES) do
  if not spec.public then
    records.define(PRIVATE .. "/" .. kind, {
      style = tagged, kind = kind == "A" and "azure.private_dns_record" or nil, name = NAME, longest = 253, located = false,
        stateless = true, given = GIVEN[PRIVATE .. "/" .. kind], given_name = "@",
      read_only = { "fqdn", "isAutoRegistered" },
      prepare = function(body, ctx)
        local p = body.properties
        keep_given(kind, p, ctx, GIVEN[PRIVATE .. "/" .. kind])
        check_set(p, kind, ctx)
        p.fqdn, p.isAutoRegistered = full_name(ctx), false
      end,
    })
  end
  records.define(PUBLIC .. "/" .. kind, {
    style = value.fill({ etag = "bare", etag_on_put = true }, style.plain), name = NAME, longest = 253, located = false,
    read_only = { "fqdn", "trafficManagementProfile" }, given = GIVEN[PUBLIC .. "/" .. kind], given_name = "@",
    prepare = function(body, ctx)
      local p = body.properties
      for own, theirs in pairs(PUBLIC_NAMES) do
        if p[own] == nil then p[own] = p[theirs] end
        if theirs ~= own then p[theirs] = nil end
      end
      p.ttl, p.TTL = p.ttl or p.TTL, nil
      keep_given(kind, p, ctx, GIVEN[PUBLIC .. "/" .. kind])
      if not value.at(p, "targetResource.id") then check_set(p, kind, ctx) end
      value.fill(p, { targetResource = {} })
      p.fqdn = full_name(ctx)
    end,
    show = function(_, body)
      local p = body.properties
      p.TTL, p.ttl = p.ttl, nil
      local own = TYPES[kind].list
      p[own], p[PUBLIC_NAMES[own]] = nil, p[own]
      p.trafficManagementProfile = {}
    end,
  })
end

--- The record sets of a zone, in any way that its API lists them.
local function sets_of(kind)
  local types = {}
  for _, name in ipairs(value.keys(TYPES)) do
    if kind == PUBLIC or not TYPES[name].public then types[#types + 1] = kind .. "/" .. name end
  end
  local function all(zone, ctx) return requests.inside(zone, types, ctx) end
  return { ALL = all, recordsets = all }
end
records.statement(PRIVATE).views = sets_of(PRIVATE)

--- How many record sets a zone has, with its own.
local function count_sets(zone, own)
  local sets = own
  for child in records.each(nil, zone.id .. "/") do
    local kind = child.type:match "[^/]+$"
    if TYPES[kind] and not (child.name == "@" and GIVEN[child.type]) then sets = sets + 1 end
  end
  return sets
end

records.define(PUBLIC, {
  views = sets_of(PUBLIC),
  style = style.dns_zone, stateless = true, name = "^[%w_-]+%.[%w_.-]*[%w_-]$", longest = 253, seconds = { delete = 10 },
  read_only = { "maxNumberOfRecordSets", "maxNumberOfRecordsPerRecordSet", "numberOfRecordSets", "nameServers", "zoneType" },
  prepare = function(body, ctx)
    if body.location ~= "global" then
      raise(400, "LocationNotAvailableForResourceType",
        ("The provided location '%s' is not available for resource type '%s'. List of "
        .. "available regions for the resource type is 'global'."):format(body.location, PUBLIC), { gateway = true })
    end
    body.tags = body.tags or {}
    ctx.private.guid = ctx.old and ctx.old.private.guid or crypto.uuid()
  end,
  show = function(record, body)
    value.fill(body.properties, { maxNumberOfRecordSets = 10000, numberOfRecordSets = count_sets(record, 2),
      nameServers = servers(record.private.guid),
      zoneType = "Public" })
  end,
})

return {}
