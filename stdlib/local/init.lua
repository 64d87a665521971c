--- The machine that vmrun runs on: files, commands, values.
return { doc = "files, commands and values of this machine" }
