-- When the last step of a run's report ended: seconds since the run began.
local fs, json = require "fs", require "json"

local last = 0
for _, event in ipairs(json.decode(assert(fs.read(arg[1]))).events) do last = math.max(last, event.start + event.seconds) end
print(("%.4f"):format(last))
