-- The smallest recipe: one file, one parameter, one output.
local here = use("local")

local p = params { who = param.string { default = "world", help = "whom to greet" } }

local greeting = here.file "greeting" { path = "greeting.txt", content = "hello " .. p.who .. "\n" }

outputs { path = greeting.path }
