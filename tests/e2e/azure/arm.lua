-- vmrun lua arm.lua DIR METHOD PATH [JSON]: one request to the emulator of a folder; "~" is its group. Prints status and body.
local http, json, task = require "http", require "json", require "task"
local endpoint = require "emulator.endpoint"
local e = endpoint.read(arg[1])
local method, path, body = arg[2], arg[3], arg[4]
if path:find("^/emulator/") then
  local answer = endpoint.ask(e, method, path:sub(11), body and json.decode(body))
  print(json.encode(answer))
  return
end
local form = ("grant_type=client_credentials&client_id=%s&client_secret=%s&scope=https://management.azure.com/.default"):format(
  e.client_id, e.client_secret)
local token = json.decode(http.request { method = "POST", url = ("%s/%s/oauth2/v2.0/token"):format(e.entra, e.tenant), ca = e.ca,
  body = form, headers = { ["Content-Type"] = "application/x-www-form-urlencoded" } }.body).access_token
local function send(verb, url, text)
  return http.request { method = verb, url = url, ca = e.ca, body = text, headers = { Authorization = "Bearer " .. token,
    ["Content-Type"] = "application/json" } }
end
path = path:gsub("^~", ("/subscriptions/%s/resourceGroups/t-rg/providers"):format(e.subscription))
local answer = send(method, e.arm .. path .. (path:find("?", 1, true) and "&" or "?") .. "api-version=2025-05-01", body)
local operation = answer.headers["azure-asyncoperation"]
while operation and json.decode(send("GET", operation).body).status == "InProgress" do task.sleep(0.02) end
print(answer.status .. " " .. answer.body)
