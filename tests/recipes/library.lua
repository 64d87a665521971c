local names = require "lib.names"
local sample = use("sample")
sample.group(names.of("main", 3)) {}
names.fails({})
