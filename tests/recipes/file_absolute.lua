local text = file("/etc/hostname")
