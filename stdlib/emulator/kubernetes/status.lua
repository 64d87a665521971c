--- Failures of the API as Kubernetes words them: each function returns a value to raise with `error`; the dispatcher of
-- requests turns it into the answer's Status object.
local json = require "json"

local status = {}

local meta = {}
meta.__index = meta
meta.__tostring = function(e) return e.body.message end

--- The general form. details is the `details` object of the Status or nil.
function status.new(code, reason, message, details)
  return setmetatable({
    code = code,
    body = {
      kind = "Status", apiVersion = "v1", metadata = {}, status = "Failure",
      message = message, reason = reason, details = details, code = code,
    },
  }, meta)
end

--- Is this a failure made here?
function status.is(e) return getmetatable(e) == meta end

local function kinds(res, name)
  return { name = name, group = res.group ~= "" and res.group or nil, kind = res.plural }
end

local function qualified(res) return res.group ~= "" and res.plural .. "." .. res.group or res.plural end

function status.not_found(res, name)
  return status.new(404, "NotFound", ("%s %q not found"):format(qualified(res), name), kinds(res, name))
end

function status.exists(res, name)
  return status.new(409, "AlreadyExists", ("%s %q already exists"):format(qualified(res), name), kinds(res, name))
end

function status.conflict(res, name, why)
  return status.new(409, "Conflict", ("Operation cannot be fulfilled on %s %q: %s"):format(qualified(res), name, why),
    kinds(res, name))
end

function status.modified(res, name)
  return status.conflict(res, name,
    "the object has been modified; please apply your changes to the latest version and try again")
end

function status.forbidden(res, name, why)
  local what = name and name ~= "" and ("%s %q"):format(qualified(res), name) or qualified(res)
  return status.new(403, "Forbidden", ("%s is forbidden: %s"):format(what, why), kinds(res, name))
end

function status.unauthorized()
  return status.new(401, "Unauthorized", "Unauthorized")
end

function status.bad_request(message)
  return status.new(400, "BadRequest", message)
end

function status.method_not_supported(res, verb)
  return status.new(405, "MethodNotAllowed", ("%s is not supported on resources of kind %q"):format(verb, qualified(res)),
    kinds(res))
end

function status.expired(message)
  return status.new(410, "Expired", message)
end

function status.internal(message)
  return status.new(500, "InternalError", "Internal error occurred: " .. message,
    { causes = json.array { { message = message } } })
end

function status.unavailable(message)
  return status.new(503, "ServiceUnavailable", message)
end

function status.unsupported_media(type_)
  return status.new(415, "UnsupportedMediaType",
    ("the body of the request was in an unknown format - accepted media types include: %s"):format(type_))
end

function status.too_many(message, seconds, causes)
  return status.new(429, "TooManyRequests", message, { retryAfterSeconds = seconds, causes = causes })
end

--- 422. errors: list of {field=, reason="FieldValueInvalid"..., message="Invalid value: ..."}.
function status.invalid(res, name, errors)
  local causes, texts = json.array {}, {}
  for i, e in ipairs(errors) do
    causes[i] = { reason = e.reason, message = e.message, field = e.field }
    texts[i] = e.field .. ": " .. e.message
  end
  local text = #texts == 1 and texts[1] or "[" .. table.concat(texts, ", ") .. "]"
  local kind = res.group ~= "" and res.kind .. "." .. res.group or res.kind
  return status.new(422, "Invalid", ("%s %q is invalid: %s"):format(kind, name or "", text),
    { name = name, group = res.group ~= "" and res.group or nil, kind = res.kind, causes = causes })
end

local function printed(v)
  if type(v) == "string" then return '"' .. v .. '"' end
  if type(v) == "table" then return json.encode(v, { sort = true }) end
  return tostring(v)
end

--- One entry for `invalid`, by Kubernetes' words.
status.field = {
  required = function(field, detail)
    return { field = field, reason = "FieldValueRequired", message = "Required value" .. (detail and ": " .. detail or "") }
  end,
  invalid = function(field, v, detail)
    return { field = field, reason = "FieldValueInvalid", message = "Invalid value: " .. printed(v) .. ": " .. detail }
  end,
  unsupported = function(field, v, allowed)
    local words = {}
    for i, a in ipairs(allowed) do words[i] = '"' .. a .. '"' end
    return { field = field, reason = "FieldValueNotSupported",
      message = "Unsupported value: " .. printed(v) .. ": supported values: " .. table.concat(words, ", ") }
  end,
  duplicate = function(field, v)
    return { field = field, reason = "FieldValueDuplicate", message = "Duplicate value: " .. printed(v) }
  end,
  not_found = function(field, v)
    return { field = field, reason = "FieldValueNotFound", message = "Not found: " .. printed(v) }
  end,
  forbidden = function(field, detail)
    return { field = field, reason = "FieldValueForbidden", message = "Forbidden: " .. detail }
  end,
}

return status
