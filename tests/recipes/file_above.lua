local text = file("../run.lua")
