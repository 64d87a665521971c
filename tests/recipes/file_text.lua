-- What could not be read is said once, and a loop over it ends.
local p = params { list = param.file { help = "a list" } }
for line in p.list:gmatch("[^\n]+") do print(line) end
