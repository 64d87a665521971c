--- `vmrun report`: what the last run did and when, and the chain of steps that took longest, as one HTML page.
local fail, fs, json = require "fail", require "fs", require "json"
local last_run = require "cli.last_run"

local M = {}

local ROW, WIDTH = 18, 900

local function escape(text)
  return (tostring(text):gsub("[&<>\"]", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;" }))
end

local STYLE = [[body{font:14px sans-serif;margin:2em}svg text{font:12px monospace}.ok{fill:#9ab}.critical{fill:#d80}.failed{fill:#c33}]]

local function draw(events, chain, length)
  local lines = {}
  local scale = length > 0 and WIDTH / length or 0
  for i, event in ipairs(events) do
    local class = event.ok == false and "failed" or chain[event] and "critical" or "ok"
    local x, y, width = event.start * scale, (i - 1) * ROW, math.max(event.seconds * scale, 1)
    lines[#lines + 1] = ('<rect class="%s" x="%.1f" y="%d" width="%.1f" height="%d"><title>%s %s: %.3f s</title></rect>'):format(class, x,
      y + 2, width, ROW - 4, escape(event.address), escape(event.verb), event.seconds)
    lines[#lines + 1] = ('<text x="%.1f" y="%d">%s %s %.1f s</text>'):format(math.min(x + width + 4, WIDTH), y + ROW - 5,
      escape(event.address), escape(event.verb), event.seconds)
  end
  return ('<svg width="%d" height="%d">%s</svg>'):format(WIDTH + 500, #events * ROW + 4, table.concat(lines, "\n"))
end

function M.run(call)
  local session = call.session
  local report = last_run.read(session)
  if not report then
    error(fail { ("stack '%s' has no run to report"):format(session.stack), code = "report", hint = "apply the recipe first" })
  end
  local events, length = report.events, report.length
  local chain, total = last_run.critical(events)
  if call.args.json then return { text = json.encode(report, { indent = 2 }) } end
  local page = ("<!DOCTYPE html>\n<meta charset=\"utf-8\">\n<title>%s</title>\n<style>%s</style>\n<h1>%s</h1>\n" ..
    "<p>%d steps in %.1f s; the longest chain (orange) took %.1f s.</p>\n%s\n"):format(escape(session.stack), STYLE,
    escape(session.stack), #events, length, total, draw(events, chain, length))
  if not call.args.out or call.args.out == "-" then return { text = page } end
  fail.check(fs.write(call.args.out, page, { mode = 420 })) -- 0644
  return { text = call.args.out }
end

return M
