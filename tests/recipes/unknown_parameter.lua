params { workers = param.integer { default = 1 } }
