--- Asks a person at the terminal for what nobody else may see.
local fail, terminal = require "fail", require "terminal"

local M = {}

local BACKSPACE, CLEAR, INTERRUPT = "[\8\127]", "\21", "\3"

--- Reads a line that is not shown; nil: there is nobody to ask. The screen is left alone meanwhile: it is raw.
function M.ask(prompt)
  local screen <close> = terminal.open()
  if not screen then return nil end
  fail.check(screen:raw())
  io.stderr:write(prompt, ": ")
  local input <close>, text, done = terminal.input(), "", false
  while not done do
    local chunk = input:read()
    if not chunk then break end
    for byte in chunk:gmatch(".") do -- a letter of several may be cut
      if byte:find("^[\r\n]") then done = true break end
      if byte == INTERRUPT then error(fail { "no passphrase was given", code = "passphrase" }) end
      if byte:find(BACKSPACE) then
        text = text:sub(1, (utf8.offset(text, -1) or 1) - 1)
      elseif byte == CLEAR then
        text = ""
      else
        text = text .. byte
      end
    end
  end
  io.stderr:write("\r\n")
  return text
end

return M
