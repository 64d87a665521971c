-- A fleet to begin with; inventory=FILE and known_hosts=FILE name another.
return { inventory = "fleet.hosts.yaml", known_hosts = "fleet.known_hosts" }
