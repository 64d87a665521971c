--- swapon [--show[=COLUMNS]] [--noheadings] [-a | DEVICE...].
local fs = require "fs"

return function(machine, call)
  local show, headings, all, devices = false, true, false, {}
  for i = 2, #call.argv do
    local word = call.argv[i]
    if word == "-s" or word:find("^%-%-show") then show = true
    elseif word == "--noheadings" then headings = false
    elseif word == "-a" or word == "--all" then all = true
    elseif word:sub(1, 1) ~= "-" then devices[#devices + 1] = word
    end
  end
  if show or #call.argv == 1 then
    if headings and #machine:swaps() > 0 then call:out("NAME\n") end
    for _, device in ipairs(machine:swaps()) do call:out(device .. "\n") end
    return 0
  end
  if all then
    for line in (fs.read(machine.root .. "/etc/fstab") or ""):gmatch("[^\n]+") do
      local device, kind = line:match("^%s*([^#%s]%S*)%s+%S+%s+(%S+)")
      if kind == "swap" then devices[#devices + 1] = device end
    end
  end
  for _, device in ipairs(devices) do table.insert(machine.swaps_on, device) end
  machine:changed()
  return 0
end
