--- The first boot's custom data, as cloud-init reads it: a #cloud-config with files and commands, or a script.
local crypto, log, yaml = require "crypto", require "log", require "yaml"

local SCRIPT = "/var/lib/custom-data"

local function file_of(item, hostname)
  local path = type(item) == "table" and type(item.path) == "string" and item.path:find("^/") and item.path
  local encoding, content = tostring(path and item.encoding or "text/plain"):lower(), tostring(path and item.content or "")
  if encoding == "b64" or encoding == "base64" then content, encoding = crypto.unbase64((content:gsub("%s", ""))), "text/plain" end
  if not path or not content or encoding ~= "text/plain" then
    log.warn("the custom data of %s: a file that cannot be written: %s", hostname, tostring(type(item) == "table" and item.path or item))
    return nil
  end
  return { path = path, content = content, mode = tonumber(tostring(item.permissions or "0644"), 8) or 420, append = item.append == true }
end

--- What custom data asks for: { files = { { path, content, mode, append } }, commands = { argv } }, in their order.
return function(text, hostname)
  local wanted = { files = {}, commands = {} }
  if not text then return wanted end
  if text:find("^#!") then
    wanted.files[1], wanted.commands[1] = { path = SCRIPT, content = text, mode = 448 }, { SCRIPT }
  elseif text:find("^#cloud%-config") then
    local config = yaml.decode(text)
    if type(config) ~= "table" then
      log.warn("the custom data of %s is not YAML", hostname)
      return wanted
    end
    for _, item in ipairs(config.write_files or {}) do wanted.files[#wanted.files + 1] = file_of(item, hostname) end
    for i, line in ipairs(config.runcmd or {}) do
      wanted.commands[i] = type(line) == "table" and line or { "/bin/sh", "-c", tostring(line) }
    end
  end
  return wanted
end
