--- The parts of the recipe language that need no recipe: places in texts, field types, kinds, parameters as texts. What a
--- whole recipe says is in tests/recipes.
local test = require "tap"
local field, kind, near = require "field", require "kind", require "recipe.nearest"
local source = require "recipe.source"

local TEXT = [==[
local a = 1 -- azure.subnet "comment" { x = 1 }
local net = azure.virtual_network "main" { group = group, cdir = "10.0.0.0/16", rules = {
  { name = "ssh", port = 22 },
  { name = [[long
text]], port = f(1, { 2 }) + 3, ["odd key"] = true },
} }
machines("control", function(vm) return { a, b } end, { x = 1 })
local set = azure.set(name) { capacity = 2 }
]==]

local function at(span) return span and ("%d:%d+%d"):format(span.line, span.column, span.width) end

test("places in a text", function(t)
  local s = source.new("x.lua", TEXT)
  local net = s:declaration(2, "virtual_network", "main")
  t.eq(at(net.head), "2:13+28")
  t.eq(at(s:field(net.open, { "cdir" }, "name")), "2:59+4")
  t.eq(at(s:field(net.open, { "cdir" })), "2:66+13")
  t.eq(at(s:field(net.open, { "rules", 1, "port" })), "3:26+2")
  t.eq(at(s:field(net.open, { "rules", 2, "port" }, "name")), "5:9+4")
  t.eq(at(s:field(net.open, { "rules", 2, "odd key" }, "name")), "5:34+9")
  t.eq(at(s:field(net.open, { "rules", 3 })), "2:81+5", "what is not there has the place of what holds it")
  t.eq(s:field(net.open, { "nothing" }), nil)
  t.eq(s:declaration(1, "subnet", "comment"), nil, "a comment declares nothing")
  local set = s:declaration(8, "set", "whatever")
  t.eq(at(s:field(set.open, { "capacity" })), "8:42+1")
  t.eq(at(s:word(8, "group")), "2:44+5", "above, when the line has no such word")
  t.eq(at(s:member(8, "set")), "8:19+3")
  t.eq(s:order(net.open), { group = 1, cdir = 2, rules = 3 })
  t.eq(s:locals(), { a = true, net = true, set = true })
end)

test("texts that Lua refuses are read as far as they go", function(t)
  for _, text in ipairs { "", "x = {", "x = \"abc", "x = [[abc", "--[[ never", "f {{{", "a.b.c \"x\" { y = ", "\0\1\2" } do
    local s = source.new("x.lua", text)
    local d = s:declaration(1, "c", "x")
    if d and d.open then s:field(d.open, { "y" }) end
    t.ok(s.tokens)
  end
end)

test("the nearest name", function(t)
  t.eq(near.nearest("cdir", { "cidr", "name" }), "cidr")
  t.eq(near.nearest("virtual_netwrok", { "virtual_network", "subnet" }), "virtual_network")
  t.eq(near.nearest("x", { "y", "name" }), nil)
  t.eq(near.nearest("2", { 1, 3, 5 }), nil, "what are no texts are not near")
  t.eq(near.hint("locaton", { location = true }), "; did you mean 'location'?")
end)

test("field types say what they want", function(t)
  local function wrong(spec, value, text)
    local got, message = field.check(spec, value, "f")
    t.eq(got, nil)
    t.eq(message, text)
  end
  wrong(field.integer { min = 1 }, 0, "'f' wants at least 1, got 0")
  wrong(field.integer {}, 1.5, "'f' wants an integer, got the number 1.5")
  wrong(field.choice { "Basic", "Standard" }, "Standrad",
    "'f' wants one of \"Basic\", \"Standard\", got the text \"Standrad\"; did you mean \"Standard\"?")
  wrong(field.cidr {}, "10.0.0.1/16", "'f' wants an address range such as \"10.0.0.0/16\", got \"10.0.0.1/16\", " ..
    "which has bits behind its prefix; did you mean \"10.0.0.0/16\"?")
  wrong(field.ip {}, "10.0.0", "'f' wants an IP address, got the text \"10.0.0\"")
  wrong(field.list { field.string {} }, { "a", 2 }, "'f[2]' wants text, got the number 2")
  wrong(field.map { field.string {} }, { "a" }, "'f' wants a table with names, got a list")
  wrong(field.object { port = field.integer { required = true } }, { prot = 1 }, "has no field 'f.prot'; did you mean 'port'?")
  wrong(field.object { port = field.integer { required = true } }, {}, "needs 'f.port' (an integer)")
  local even = field.string { check = function(text) return #text % 2 == 1 and "letters in pairs" or nil end }
  wrong(field.list { even }, { "ab", "abc" }, "'f[2]' wants letters in pairs, got \"abc\"")
  t.eq(field.check(even, "ab", "f"), "ab")
  t.eq(field.check(field.integer {}, 3.0, "f"), 3)
  t.eq(field.check(field.cidr { list = true }, "10.0.0.0/8", "f"), { "10.0.0.0/8" })
  t.ok(field.is_ip "fe80::1" and field.is_ip "::" and field.is_ip "1.2.3.4")
  t.ok(not field.is_ip "1.2.3.256" and not field.is_ip "1::2::3" and not field.is_ip "01.2.3.4")
end)

test("a kind's page is checked and described", function(t)
  local page = kind "test.thing" {
    fields = { name = field.string { replace = true }, key = field.secret {} },
    outputs = { id = field.string {}, name = field.string {} },
    read = function() end, create = function() end,
  }
  local told = kind.describe(page)
  t.eq(told.name, "test.thing")
  t.eq(told.provider, "test")
  t.eq(told.fields.name.computed, true, "what is an output too is filled in by the world")
  t.eq(told.fields.key.secret, true)
  t.eq(told.verbs.create, true)
  t.eq(told.verbs.delete, false)
  t.eq(told.timeouts.create, 600)
  t.fails("has no read", function() kind "test.other" {} end)
  t.fails("is not a field type", function() kind "test.other" { fields = { x = 1 }, read = function() end } end)
  t.fails("a collection needs add and remove", function()
    kind "test.other" { read = function() end, collection = { output = "x" } }
  end)
  t.fails("have default_name", function()
    kind "test.other" {
      fields = { a = field.string { default_name = true }, b = field.string { default_name = true } }, read = function() end,
    }
  end)
  local missing, message = kind.find "local.flie"
  t.eq(missing, nil)
  t.eq(message, "no kind 'local.flie'")
  t.eq(kind.find("local.file").name, "local.file")
end)

test("parameters as texts", function(t)
  local parse = require("recipe.param").parse
  t.eq(parse(field.integer {}, "-4"), -4)
  t.eq(parse(field.integer {}, "4.5"), "4.5", "what does not fit is left for the check")
  t.eq(parse(field.number {}, "4.5"), 4.5)
  t.eq(parse(field.boolean {}, "true"), true)
  t.eq(parse(field.boolean {}, "yes"), "yes")
  t.eq(parse(field.string {}, "4"), "4")
  t.eq(parse(field.choice { 1, 3, 5 }, "3"), 3)
  t.eq(parse(field.list { field.integer {} }, "1, 2,3"), { 1, 2, 3 })
  t.eq(parse(field.list { field.integer {} }, "[1, 2]")[2], 2)
  t.eq(parse(field.map { field.string {} }, "a=b,c=d=e"), { a = "b", c = "d=e" })
  t.eq(parse(field.map { field.string {} }, '{"a": "b"}').a, "b")
end)

test("files of parameters", function(t)
  local fs, files = require "fs", require "recipe.params_file"
  local folder = fs.mktemp("recipe")
  local function read(name, text)
    fs.write(folder .. "/" .. name, text)
    return files.read(folder .. "/" .. name)
  end
  t.eq(read("a.lua", "return { workers = 3, list = { 1 } }"), { workers = 3, list = { 1 } })
  t.eq(read("a.json", '{"workers": 3}'), { workers = 3 })
  t.eq(read("a.yaml", "workers: 3\n"), { workers = 3 })
  t.eq(read("b.yaml", ""), {})
  t.fails("a.lua:1:", read, "a.lua", "return {")
  t.fails("attempt to index a nil value (global 'os')", read, "a.lua", "return { x = os.time() }")
  t.fails("does not hold a table", read, "a.json", "[1, 2]")
  t.fails("a.toml is not a file of parameters", read, "a.toml", "x = 1")
  t.fails("there is no file", files.read, folder .. "/none.json")
  fs.remove(folder, { recursive = true })
end)

test.done()
