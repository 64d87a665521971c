local p = params {
  count  = param.integer { default = 1, max = 10 },
  size   = param.choice { "small", "large" },
  zones  = param.list { param.integer {}, default = { 1 } },
  flag   = param.boolean { default = false },
  key    = param.secret {},
  pass   = param.secret { env = "VMRUN_NO_SUCH_VARIABLE" },
  labels = param.map { param.string {}, default = {} },
  wrong  = param.integer { default = "one" },
  nothing = 5,
  match  = param.string { default = "x", match = "^[a-z]+$" },
}
