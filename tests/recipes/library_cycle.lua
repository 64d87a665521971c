local a = require "lib.a"
