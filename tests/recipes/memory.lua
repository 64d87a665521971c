local list = {}
for i = 1, 100 do
  list[i] = ("x"):rep(1024):rep(64 * 1024)
end
