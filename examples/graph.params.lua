-- A graph to begin with; edges=FILE names another.
return { edges = "graph.edges" }
