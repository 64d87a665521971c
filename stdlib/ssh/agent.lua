--- ssh-agent, both ends: asking one for its keys and signatures, and being one for a child process, so that a key is neither
-- on disk nor in an argument. Messages are a length and a body, whose first byte says what it is.
local log, ssh, stream, task = require "log", require "ssh", require "stream", require "task"

local M = {}

local FAILURE, LIST, KEYS, SIGN, SIGNATURE = 5, 11, 12, 13, 14
local SHA256, SHA512 = 2, 4 -- flags of a request to sign with RSA
local LARGEST = 262144      -- bytes of a message, as in OpenSSH
local PATIENCE = 60         -- seconds: a person may have to confirm

-- What libssh2 can log in with; certificates and keys of devices are for ssh itself.
local PLAIN = { ["ssh-rsa"] = true, ["ssh-ed25519"] = true, ["ecdsa-sha2-nistp256"] = true, ["ecdsa-sha2-nistp384"] = true,
  ["ecdsa-sha2-nistp521"] = true }

-- Messages come in pieces: `rest` keeps what was read too much. Returns nil at the end, or nil, message, code.
local function receive(s, rest, timeout)
  local data = rest[1] or ""
  while #data < 4 or #data < 4 + (">I4"):unpack(data) do
    if #data >= 4 and (">I4"):unpack(data) > LARGEST then return nil, "it sent a message without end", "protocol" end
    local chunk, message, code = s:read(timeout)
    if not chunk then return nil, message, code end
    data = data .. chunk
  end
  local body, after = (">s4"):unpack(data)
  rest[1] = data:sub(after)
  return body
end

local function connect(path)
  return stream.connect { path = path, timeout = 5 }
end

-- One question and its answer.
local function ask(path, body)
  local s <close>, message, code = connect(path)
  if not s then return nil, ("the ssh-agent at %s does not answer: %s"):format(path, message), code end
  local answer
  answer, message = s:write((">s4"):pack(body))
  if answer then answer, message = receive(s, {}, PATIENCE) end
  if not answer then return nil, ("the ssh-agent at %s does not answer: %s"):format(path, message or "it ended"), "agent" end
  return answer
end

--- The keys of an agent: a list of {blob=, comment=, type=, name=, plain= (libssh2 can use it)}.
-- @return the list; or nil, message, code
function M.keys(path)
  local answer, message, code = ask(path, string.char(LIST))
  if not answer then return nil, message, code end
  local list = {}
  local ok = pcall(function()
    local what, count, at = (">BI4"):unpack(answer)
    assert(what == KEYS)
    for i = 1, count do
      local blob, comment
      blob, comment, at = (">s4s4"):unpack(answer, at)
      local kind = (">s4"):unpack(blob)
      list[i] = { blob = blob, comment = comment, type = kind, plain = PLAIN[kind] == true, name = ssh.key_name(blob) or kind }
    end
  end)
  if not ok then return nil, ("the ssh-agent at %s does not list its keys"):format(path), "agent" end
  return list
end

--- Has an agent sign data with one of its keys.
-- @return the bare signature; or nil, message, code
function M.sign(path, key, data)
  local rsa = key.type == "ssh-rsa"
  local wanted, flags = rsa and "rsa-sha2-256" or key.type, rsa and SHA256 or 0
  local answer, message, code = ask(path, (">Bs4s4I4"):pack(SIGN, key.blob, data, flags))
  if not answer then return nil, message, code end
  if answer:byte() == FAILURE then return nil, ("the ssh-agent at %s refused to sign"):format(path), "agent" end
  local ok, algorithm, signature = pcall(function()
    local what, full = (">Bs4"):unpack(answer)
    assert(what == SIGNATURE)
    local algorithm, bare = (">s4s4"):unpack(full)
    return algorithm, bare
  end)
  if not ok then return nil, ("the ssh-agent at %s did not answer with a signature"):format(path), "agent" end
  if signature == "" then return nil, ("the ssh-agent at %s gave an empty signature"):format(path), "agent" end
  if algorithm ~= wanted then -- an old agent signs with SHA-1 whatever it is asked for
    return nil, ("the ssh-agent at %s signed with %q instead of %s"):format(path, algorithm, wanted), "agent"
  end
  return signature
end

-- What an agent of ours says.

local function algorithm_for(flags, blob)
  if (">s4"):unpack(blob) ~= "ssh-rsa" then return nil end
  return flags & SHA512 ~= 0 and "rsa-sha2-512" or flags & SHA256 ~= 0 and "rsa-sha2-256" or "ssh-rsa"
end

local Agent = {}
Agent.__index = Agent

local function list_answer(self)
  local parts, count = {}, 0
  for _, key in ipairs(self.own) do
    count = count + 1
    parts[count] = (">s4s4"):pack(key:blob(), "vmrun")
  end
  for _, key in ipairs(self.upstream and M.keys(self.upstream) or {}) do
    count = count + 1
    parts[count] = (">s4s4"):pack(key.blob, key.comment)
  end
  return (">BI4"):pack(KEYS, count) .. table.concat(parts)
end

local function sign_answer(self, body)
  local _, blob, data, flags = (">Bs4s4I4"):unpack(body)
  for _, key in ipairs(self.own) do
    if key:blob() == blob then
      local bare, algorithm = key:sign(data, algorithm_for(flags, blob))
      return bare and (">Bs4"):pack(SIGNATURE, (">s4s4"):pack(algorithm, bare)) or string.char(FAILURE)
    end
  end
  return self.upstream and ask(self.upstream, body) or string.char(FAILURE)
end

local function answer_to(self, body)
  local what = body:byte()
  if what == LIST then return list_answer(self) end
  if what == SIGN then return sign_answer(self, body) end
  return string.char(FAILURE)
end

local function serve_one(self, s)
  local peer <close>, rest = s, {}
  while true do
    local body = receive(peer, rest)
    if not body or body == "" then return end
    local ok, answer = pcall(answer_to, self, body)
    if not ok then log.debug("agent: %s", tostring(answer)) end
    if not peer:write((">s4"):pack(ok and answer or string.char(FAILURE))) then return end
  end
end

--- An agent of ours on a socket.
-- @param keys what `ssh.key` gave
-- @param upstream the socket of another agent, whose keys are offered too
-- @return the agent, to be closed; or nil, message, code
function M.serve(path, keys, upstream)
  local listener, message, code = stream.listen { path = path }
  if not listener then return nil, message, code end
  local self = setmetatable({ listener = listener, own = keys, upstream = upstream, running = {} }, Agent)
  self.accepting = task.spawn(function()
    while true do
      local s = listener:accept()
      if not s then return end
      local place = {}
      self.running[place] = task.spawn(function()
        serve_one(self, s)
        self.running[place] = nil
      end)
    end
  end)
  return self
end

function Agent:close()
  if not self.listener then return end
  self.listener:close()
  self.listener = nil
  self.accepting:cancel("closed")
  self.accepting:join()
  for _, one in pairs(self.running) do one:cancel("closed") end
  for _, one in pairs(self.running) do one:join() end
end

return M
