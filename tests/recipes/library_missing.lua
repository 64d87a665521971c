local names = require "lib.nmaes"
