-- A plan of things of this machine: what is known, what is known after apply, secrets, long texts, folded lines.
local here, random = use("local", "random")
local p = params { key = param.secret { env = "VMRUN_TEST_KEY", optional = true } }
local name = random.name "pet" { length = 4, prefix = "pet-" }
local long = here.file "long" { path = "/nonexistent/long", content = ("line\n"):rep(30) }
here.file "short" { path = "/nonexistent/short", content = "text" }
here.file "later" { path = "/nonexistent/later", content = "name: " .. name.value }
here.file "secret" { path = "/nonexistent/secret", content = fn.base64(p.key or "nothing") }
here.value "table" { value = { list = { 1, 2, { deep = true } }, name = name.value, text = "with \"quotes\"" } }
outputs { name = name.value }
