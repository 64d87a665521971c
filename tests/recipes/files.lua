local sample = use("sample")
sample.group "one" { tags = { text = file("inside.txt") } }
sample.group "two" { tags = { text = file "no-such.txt" } }
