local test = require "tap"
local json = require "json"

test("values come back as they were", function(t)
  local text = '{"a":[1,2.5,"x",true,false,null],"e":[],"o":{},"s":"\\u00e4\\u0000\\n"}'
  local value = json.decode(text)
  t.eq(value.a[1], 1)
  t.eq(math.type(value.a[1]), "integer")
  t.eq(math.type(value.a[2]), "float")
  t.ok(value.a[6] == json.null)
  t.eq(value.s, "ä\0\n")
  t.eq(json.decode(json.encode(value)), value)
  t.eq(json.encode(value), '{"a":[1,2.5,"x",true,false,null],"e":[],"o":{},"s":"ä\\u0000\\n"}')
end)

test("integers stay integers, also large ones", function(t)
  t.eq(json.encode { 6443, math.maxinteger, math.mininteger, 1.0 },
    "[6443,9223372036854775807,-9223372036854775808,1.0]")
  t.eq(json.decode "9223372036854775807", math.maxinteger)
  t.err("syntax", json.decode "9223372036854775808")
end)

test("real numbers are short and exact", function(t)
  t.eq(json.encode { 0.1, 1e100, -2.5 }, "[0.1,1e100,-2.5]")
  local exact = 0.1 + 0.2
  t.eq(json.decode(json.encode(exact)), exact)
end)

test("arrays and objects", function(t)
  t.eq(json.encode {}, "{}")
  t.eq(json.encode(json.array {}), "[]")
  t.eq(json.encode(json.array()), "[]")
  t.eq(json.encode(json.decode "[]"), "[]")
  t.eq(json.encode { 1, 2 }, "[1,2]")
  t.ok(json.is_array { 1 })
  t.ok(json.is_array(json.array {}))
  t.ok(not json.is_array {})
  t.ok(not json.is_array { a = 1 })
  t.ok(not json.is_array "x")
  t.eq(json.encode(nil), "null")
  t.eq(tostring(json.null), "null")
end)

test("keys are in order and indentation is as asked", function(t)
  local value = { b = 1, a = { 1 }, c = json.null, [""] = 2 }
  t.eq(json.encode(value), '{"":2,"a":[1],"b":1,"c":null}')
  t.eq(json.encode({ b = 1, a = { 1 } }, { indent = 2 }), '{\n  "a": [\n    1\n  ],\n  "b": 1\n}')
  t.eq(json.encode({ b = 1, a = 2 }, { sort = false }), '{"a":2,"b":1}')
end)

test("what has no JSON form is named with its place", function(t)
  t.eq(t.err("value", json.encode { spec = { list = { 1, print } } }), "spec.list[2]: a function has no JSON form")
  t.has(t.err("value", json.encode { a = { 1, x = 2 } }), "a: a table that is both a list and an object")
  t.has(t.err("value", json.encode { a = { [1] = 1, [3] = 3 } }), "a: a list with a hole in it")
  t.has(t.err("value", json.encode { [true] = 1 }), "neither names nor")
  t.has(t.err("value", json.encode { 0 / 0 }), "[1]: nan")
  t.has(t.err("value", json.encode { 1 / 0 }), "infinite")
  t.has(t.err("value", json.encode { a = "\xff" }), "a: a text that is not UTF-8")
  t.has(t.err("value", json.encode { ["\xff"] = 1 }), "a key that is not UTF-8")
  t.has(t.err("value", json.encode { ["a\0b"] = 1 }), "NUL")
  local cycle = {}
  cycle.self = cycle
  t.has(t.err("value", json.encode(cycle)), "does a table contain itself?")
end)

test("a value may know its JSON form", function(t)
  local meta = { __json = function(self) return { shown = self.inner } end }
  t.eq(json.encode { setmetatable({ inner = 1 }, meta) }, '[{"shown":1}]')
  local broken = setmetatable({}, { __json = function() error("not now", 0) end })
  t.eq(t.err("value", json.encode { a = broken }), "a: not now")
  local endless = setmetatable({}, {})
  getmetatable(endless).__json = function() return endless end
  t.has(t.err("value", json.encode(endless)), "200 deep")
end)

test("errors of syntax have line and column", function(t)
  t.has(t.err("syntax", json.decode '{\n  "a": }'), "2:8: ")
  t.err("syntax", json.decode "")
  t.err("syntax", json.decode "[1] x")
  t.err("syntax", json.decode '{"a":1,}')
end)

test.done()
