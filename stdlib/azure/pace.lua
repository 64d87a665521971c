--- Keeps requests within what Azure Resource Manager lets a principal do: a bucket of tokens for reads, writes and deletes, which
-- follows the header that ARM sends with each answer.
-- Source: learn.microsoft.com, "Understand how Azure Resource Manager throttles requests": buckets of 250 reads, 200 writes and 200
-- deletes a subscription and principal, which fill up by 25, 10 and 10 a second.
local task = require "task"

local M = {}
M.__index = M

local REFILL = { reads = 25, writes = 10, deletes = 10 }
local KIND = { GET = "reads", HEAD = "reads", DELETE = "deletes" }

function M.new() return setmetatable({ buckets = {} }, M) end

local function bucket_of(self, method)
  local name = KIND[method] or "writes"
  local bucket = self.buckets[name]
  if not bucket then
    bucket = { name = name, refill = REFILL[name], busy = 0 } -- tokens: nil until an answer said
    self.buckets[name] = bucket
  end
  return bucket
end

local function fill(bucket)
  local now = task.now()
  if bucket.tokens then bucket.tokens = bucket.tokens + (now - bucket.at) * bucket.refill end
  bucket.at = now
end

--- Waits until a request of this method has a token, and takes it.
-- @return whether it had to wait
function M:before(method)
  local bucket, waited = bucket_of(self, method), false
  fill(bucket)
  while bucket.tokens and bucket.tokens < 1 do
    waited = true
    task.sleep((1 - bucket.tokens) / bucket.refill)
    fill(bucket)
  end
  if bucket.tokens then bucket.tokens = bucket.tokens - 1 end
  bucket.busy = bucket.busy + 1
  return waited
end

--- Notes what the answer to a request said (nil: there was none); those that are still on their way come off it.
function M:after(method, answer)
  local bucket = bucket_of(self, method)
  bucket.busy = bucket.busy - 1
  local left = answer and tonumber(answer.headers["x-ms-ratelimit-remaining-subscription-" .. bucket.name])
  if not left then return end
  fill(bucket)
  bucket.tokens = left - bucket.busy
end

return M
