--- Asks a person at the terminal for what nobody else may see.
local fail, terminal = require "fail", require "terminal"

local M = {}

local BACKSPACE, CLEAR, INTERRUPT = "[\8\127]", "\21", "\3"

--- Reads a line that is not shown; nil: there is nobody to ask. The screen is left alone meanwhile: it is raw.
function M.ask(prompt)
  local screen <close> = terminal.open()
  if not screen then return nil end
  screen:raw()
  io.stderr:write(prompt, ": ")
  local input <close>, text, done = terminal.input(), "", false
  while not done do
    local chunk = input:read()
    if not chunk then break end
    for letter in chunk:gmatch("[\0-\x7f\xc2-\xfd][\x80-\xbf]*") do
      if letter:find("^[\r\n]") then done = true break end
      if letter == INTERRUPT then error(fail { "no passphrase was given", code = "passphrase" }) end
      if letter:find(BACKSPACE) then
        text = text:sub(1, (utf8.offset(text, -1) or 1) - 1)
      elseif letter == CLEAR then
        text = ""
      else
        text = text .. letter
      end
    end
  end
  io.stderr:write("\r\n")
  return text
end

return M
