--- The token endpoints of Microsoft Entra ID: forms sent, JSON answered.
local http, json = require "http", require "json"
local fail = require "fail"

local entra = {}

--- A text as it stands in a form or a query.
function entra.urlencode(text)
  return (text:gsub("[^%w%-._~]", function(c) return ("%%%02X"):format(c:byte()) end))
end

--- Posts a form to `PATH` of a tenant ("token", "devicecode"); returns the decoded answer and its status.
function entra.post(cloud, tenant, path, fields)
  local parts = {}
  for key, value in pairs(fields) do parts[#parts + 1] = entra.urlencode(key) .. "=" .. entra.urlencode(value) end
  table.sort(parts)
  local answer = fail.check(http.request {
    method = "POST", url = ("%s/%s/oauth2/v2.0/%s"):format(cloud.login, tenant, path), body = table.concat(parts, "&"), ca = cloud.ca,
    timeout = 60, headers = { ["Content-Type"] = "application/x-www-form-urlencoded", Accept = "application/json" },
  })
  local body = json.decode(answer.body)
  return type(body) == "table" and body or { error = "HTTP " .. answer.status }, answer.status
end

return entra
