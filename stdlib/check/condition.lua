--- What the word `check` declares: something that must be so, looked at in each plan, or during apply when its values are known then.
local checks = require "recipe.checks"
local fail, field, kind = require "fail", require "field", require "kind"

return kind "check.condition" {
  doc = "A condition of a recipe: check \"name\" { of = { values }, that = function(...) ... end, message = \"...\" }.",
  fields = {
    test = field.string { required = true, doc = "The address that the test was declared with." },
    of = field.list { field.any {}, default = {}, doc = "The values that the test is called with." },
    message = field.string { default = "does not hold", doc = "What it means when the test gives false." },
    warn = field.boolean { default = false, doc = "Only say it." },
  },
  outputs = { holds = field.boolean {} },
  timeouts = { read = 30 },
  read = function(ctx)
    local f = ctx.fields
    local ok, holds, text = pcall(checks.run, f.test, f.of)
    if not ok then error(fail { "the test failed in its own code: " .. tostring(holds), code = "check" }) end
    local message = type(text) == "string" and text or f.message
    if not holds and not f.warn then error(fail { message, code = "check" }) end
    return { fields = f, outputs = { holds = holds }, note = not holds and message or nil }
  end,
}
