local list = {}
for i = 1, 100 do
  list[i] = ("x"):rep(1024):rep(600 * 1024)
end
