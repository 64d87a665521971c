local M = {}
function M.of(prefix, n) return ("%s-%02d"):format(prefix, n) end
function M.fails(x) return x.y.z end
return M
