--- How the services of Azure differ in form. A statement of a type names one of these.
--
--   etag          "weak" (W/"guid"), "counter" ("1", "2"), "guid" ("guid"), "bare" (guid; quoted in the header),
--                 "hex" ("0x..."), or none
--   pending       provisioningState while created / updated
--   operation     path segment of the operation's URL; none: PUT is done when it is answered
--   put_status    created, updated
--   put_location  PUT also gives Location
--   delete        "async": 202 with both headers, "sync": 200
--   each_put      a PUT that changes nothing is an operation too
--   queues        a write during another one is accepted
--   below         the operation's URL stands below the resource
--   refuses       the code for a value that cannot be ("parse": as a body that cannot be read)
--   names_target  the error of such a value names it as its target
--   retry         nominal seconds of Retry-After
local clock = require "emulator.clock"

local style = {}

style.network = {
  name = "network", refuses = "parse", etag = "weak", pending = { "Updating", "Updating" }, operation = "operations",
    result = "operationResults",
  put_status = { 201, 200 }, delete = "async", retry = 3, state = "provisioningState",
  body = function(op) return { status = op.status, error = op.error } end,
}

style.compute = {
  name = "compute", refuses = "InvalidParameter", names_target = true, etag = "counter", etag_on_put = true,
    pending = { "Creating", "Updating" }, operation = "operations",
  put_status = { 201, 200 }, delete = "async", retry = 10, each_put = true,
  body = function(op)
    return { startTime = clock.iso(op.started), endTime = op.finished and clock.iso(op.finished) or nil, status = op.status,
      name = op.id, error = op.error, properties = op.output and { output = op.output } or nil }
  end,
}

--- The part of Microsoft.Network that firewalls belong to: an older resource provider of its own.
style.firewall = {
  name = "firewall", refuses = "parse", etag = "bare", pending = { "Updating", "Updating" }, operation = "nfvOperations",
    put_status = { 201, 200 },
  delete = "sync", retry = 10, each_put = true, body = style.network.body,
}

style.disk = {
  name = "disk", refuses = "InvalidParameter", names_target = true, pending = { "Updating", "Updating" },
    operation = "DiskOperations", put_status = { 202, 202 },
  put_location = true, delete = "async", retry = 2, body = style.compute.body, brief = true, each_put = true,
}

style.dns = {
  name = "dns", etag = "guid", pending = { "Updating", "Updating" }, operation = "privateDnsOperationStatuses",
  result = "privateDnsOperationResults", in_group = true, put_status = { 202, 202 }, put_location = true, empty_put = true,
  delete = "async", retry = 5, body = style.network.body, each_put = true, queues = true,
}

style.storage = {
  name = "storage", refuses = "InvalidRequestPropertiesValue", pending = { "Creating", "Succeeded" },
    operation = "asyncoperations", put_status = { 202, 200 },
  put_location = true, no_async = true, empty_put = true, update_at_once = true, delete = "sync", retry = 17, location_body = true,
  body = style.network.body,
}

style.vault = { name = "vault", pending = { "RegisteringDns", "Succeeded" }, put_status = { 200, 200 }, delete = "sync", by_state = true,
  retry = 5 }

--- Done at once, no operation.
style.plain = { name = "plain", pending = { "Succeeded", "Succeeded" }, put_status = { 201, 200 }, delete = "sync", retry = 5 }

--- Blob containers: as plain, with an etag.
style.container = { name = "container", refuses = "InvalidRequestPropertiesValue", etag = "guid", etag_on_put = true,
  pending = { "Succeeded", "Succeeded" }, put_status = { 201, 200 },
  delete = "sync", retry = 5 }

--- File shares: the etag of a storage service.
style.share = { name = "share", refuses = "InvalidRequestPropertiesValue", etag = "hex", etag_on_put = true,
  pending = { "Succeeded", "Succeeded" }, put_status = { 201, 200 },
  delete = "sync", retry = 5 }

--- Managed clusters and their pools.
style.cluster = {
  name = "cluster", pending = { "Creating", "Updating" }, operation = "operations", result = "operationresults",
    put_status = { 201, 200 },
  delete = "async", retry = 10, each_put = true,
  body = function(op)
    return { name = op.id, status = op.status, startTime = clock.iso(op.started),
      endTime = op.finished and clock.iso(op.finished) or nil,
      error = op.error }
  end,
}

--- Container registries: done at once, but what a registry does for itself (importing an image) is followed by Location.
style.registry = { name = "registry", pending = { "Succeeded", "Succeeded" }, put_status = { 200, 200 }, delete = "sync",
  retry = 5,
  operation = "operationResults", at_once = true, no_async = true, body = style.network.body }

style.deployment = { name = "deployment", pending = { "Accepted", "Accepted" }, put_status = { 201, 200 }, delete = "location",
  operation = "operationStatuses", below = true, retry = 1,
  body = function(op)
    return { status = op.status == "InProgress" and "Running" or op.status, error = op.error }
  end }

style.group = { name = "group", pending = { "Succeeded", "Succeeded" }, put_status = { 201, 200 }, delete = "location",
  operation = "operationresults", retry = 15, body = style.network.body }

--- Public DNS zones: done at once, but for their end.
style.dns_zone = { name = "dns_zone", etag = "bare", etag_on_put = true, pending = { "Succeeded", "Succeeded" },
  put_status = { 201, 200 },
  operation = "dnsOperationStatuses", result = "dnsOperationResults", at_once = true, in_group = true, delete = "async",
    retry = 5,
  body = style.network.body }

-- How a type answers of which nothing is stated: as its provider mostly does.
local OF = { ["microsoft.network"] = style.network, ["microsoft.containerservice"] = style.cluster }

--- The style of a provider's types.
function style.of(namespace) return OF[namespace:lower()] or style.plain end

return style
