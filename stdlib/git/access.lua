--- How a repository's table is reached: the options that every function of the `git` module takes.
local M = {}

--- The kinds that a field `repository` may hold.
M.KINDS = { "git.repository", "git.emulator_repository" }

function M.options(_, repository, more)
  local options = { url = repository.url, branch = repository.branch or "main", key = repository.key,
    known_hosts = repository.known_hosts, username = repository.username, password = repository.password, connect_to = repository.connect_to,
    timeout = 120 }
  for name, value in pairs(more or {}) do options[name] = value end
  return options
end

return M
