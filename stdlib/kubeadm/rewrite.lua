--- Writes all Secrets of a cluster anew, as they are: where what etcd has is not encrypted with the first key of the API server, a
-- change of nothing is a write. Their bodies are asked for by nobody.
local at_once, json = require "at_once", require "json"

local M = {}

local PAGE, AT_ONCE, TOLD = 100, 8, 20 -- Secrets that are asked for, and written, at once; of how many it is told

-- One that is gone needs nothing; one that somebody else has written meanwhile was written with the key that is wanted.
local function write(api, item)
  api:request("PATCH", api:path("v1", "Secret", item.metadata.namespace, item.metadata.name), "{}",
    { content_type = "application/merge-patch+json", ok = { [404] = true, [409] = true } })
end

-- The names of Secrets, page by page, and how many are left. A server that has forgotten the version of the pages says how to go on
-- with the newest: what came meanwhile was written with the key that is wanted.
local function pages(api)
  local path, next_page, over = api:path("v1", "Secret"), nil, false
  return function()
    while not over do
      local list, answer = api:request("GET", path .. "?limit=" .. PAGE .. (next_page and "&continue=" .. next_page or ""), nil,
        { accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", ok = { [410] = next_page ~= nil } })
      local told = list or json.decode(answer.body)
      next_page = told.metadata and told.metadata.continue
      over = not next_page or next_page == ""
      if list then return list.items ~= json.null and list.items or {}, list.metadata.remainingItemCount or 0 end
    end
  end
end

--- Writes them; progress(done, total).
function M.secrets(api, progress)
  local done = 0
  for items, left in pages(api) do
    local at, total = 0, done + #items + left
    -- Who has failed writes no more: an API that is away would be waited for once for each Secret.
    at_once(table.move(items, 1, math.min(AT_ONCE, #items), 1, {}), function()
      while at < #items do
        at = at + 1
        write(api, items[at])
        done = done + 1
        if done % TOLD == 0 or done == total then progress(done, total) end
      end
    end)
  end
end

return M
