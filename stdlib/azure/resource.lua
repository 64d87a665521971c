--- Any ARM resource: a type, an api-version and a body. What the body declares is compared; the rest is ARM's.
local arm, field, statement = require "azure.arm", require "field", require "azure.statement"
local kind, schema = require "kind", require "azure.schema"

local function id_of(f, target)
  if not f.name or not f.type then return nil end
  local parent = f.parent
  local base = type(parent) == "table" and parent.id or parent
  if parent ~= nil and not base then return nil end
  if not base then base = "/subscriptions/" .. target.subscription end
  local namespace = f.type:match("^([^/]+)/")
  local parent_type = base:match("/providers/([^/]+/.+)$")
  -- A child of a resource of the same provider goes below it; anything else starts a providers segment of its own.
  if parent_type and parent_type:lower():sub(1, #namespace) == namespace:lower() then
    return base .. "/" .. f.type:match("[^/]+$") .. "/" .. f.name
  end
  return base .. "/providers/" .. f.type .. "/" .. f.name
end

local function write(ctx)
  local client, f = arm.open(ctx.target), ctx.fields
  local id = id_of(f, ctx.target)
  local now = ctx.verb == "update" and client:get(id, f.api_version) or nil
  local body = now and statement.strip(now) or {}
  local function lay(base, more)
    for key, value in pairs(more) do
      if type(value) == "table" and type(base[key]) == "table" and #value == 0 then lay(base[key], value) else base[key] = value end
    end
  end
  lay(body, f.body or {})
  local made = client:put(id, f.api_version, body, { etag = now and now.etag, ctx = ctx })
  return { outputs = { id = made.id, body = made } }
end

-- Only a type of which `vmrun schema add` took the schema is checked.
local function check(f, problem)
  if type(f.type) ~= "string" or type(f.api_version) ~= "string" then return end
  local known, message = schema.load(f.type, f.api_version)
  if message then return problem({ "type" }, ("cannot be checked: %s; add the schema anew or remove it"):format(message)) end
  if not known then return end
  for _, p in ipairs(schema.check(known, f.body, f.name)) do problem(p.path, p.text, p.part) end
end

return kind "azure.resource" {
  doc = "Any Azure resource by type, api-version and body.", provider = "azure",
  fields = {
    name = field.string { required = true, replace = true, default_name = true },
    type = field.string { required = true, replace = true, match = "^[%w.]+/[%w./]+$", doc = "Such as Microsoft.Cache/redis." },
    api_version = field.string { required = true, match = "^%d%d%d%d%-%d%d%-%d%d", doc = "The api-version." },
    parent = field.any { replace = true, doc = "The resource group or parent resource; else the subscription." },
    body = field.any { doc = "The body as ARM takes it." },
  },
  outputs = { id = field.string {}, body = field.any { doc = "The resource as ARM shows it." } },
  identity = id_of,
  predict = function(f, target) return { id = id_of(f, target) } end,
  check = check,
  read = function(ctx)
    local client, f, prior = arm.open(ctx.target), ctx.fields, ctx.prior
    -- What the state knows is read where it is: behind the id of another name, type or parent there is nothing yet.
    local id = prior and prior.id or id_of(f, ctx.target)
    local was = prior and prior.fields and id:lower() ~= tostring(id_of(f, ctx.target)):lower() and prior.fields or f
    local body = client:settled(id, was.api_version, { alone = true })
    if not body then return nil end
    local fields = { name = was.name, type = was.type, api_version = f.api_version, parent = was.parent }
    local same = statement.matches(f.body or {}, body)
    fields.body = same and f.body or body
    -- One whose last operation failed may show all that was declared and yet not be there in full.
    local state = statement.get(body, "properties.provisioningState")
    local mend = same and (state == "Failed" or state == "Canceled")
      and { { path = "body.properties.provisioningState", old = state, new = "Succeeded" } } or nil
    return { fields = fields, outputs = { id = body.id, body = body }, etag = body.etag, changes = mend }
  end,
  create = write, update = write,
  delete = function(ctx)
    arm.open(ctx.target):delete(ctx.prior.id or ctx.prior.outputs.id, ctx.fields.api_version, { ctx = ctx })
  end,
}
