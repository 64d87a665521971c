local text = file("outside.txt")
