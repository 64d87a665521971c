--- Objects of a manifest: from a text, from Lua tables, or from a URL with its checksum.
local crypto, fail, field, http = require "crypto", require "fail", require "field", require "http"
local objects, set = require "kubernetes.objects", require "kubernetes.set"

local fetched = {}

local function fetch(f)
  if fetched[f.sha256] then return fetched[f.sha256] end
  local answer = fail.check(http.request { method = "GET", url = f.url, timeout = 120 })
  if answer.status ~= 200 then error(fail { ("%s: HTTP %d"):format(f.url, answer.status), code = "fetch" }) end
  local digest = crypto.sha256(answer.body)
  if digest ~= f.sha256:lower() then
    error(fail { ("the checksum of %s is %s, not %s"):format(f.url, digest, f.sha256), code = "checksum",
      hint = "look at what changed before you take the new checksum into the recipe" })
  end
  fetched[f.sha256] = answer.body
  return answer.body
end

return set.define "kubernetes.manifest" {
  doc = "The objects of a manifest, applied in order; what leaves it is deleted.",
  fields = {
    text = field.string { doc = "YAML, as many documents as there are; `file(\"name.yaml\")` reads one." },
    objects = field.list { field.any {}, doc = "Objects as tables." },
    url = field.string { match = "^https?://", doc = "Where the manifest is." },
    sha256 = field.string { match = "^%x+$", doc = "The checksum of what the URL gives: required with `url`." },
  },
  objects = function(ctx)
    local f = ctx.fields
    if f.objects then return f.objects end
    if f.url then
      if not f.sha256 then error(fail { "a manifest from a URL needs 'sha256'", code = "field" }) end
      return objects.parse(fetch(f), f.url)
    end
    if not f.text then error(fail { "a manifest needs 'text', 'objects' or 'url'", code = "field" }) end
    return objects.parse(f.text, "manifest")
  end,
}
