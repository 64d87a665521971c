--- Values drawn at random once, and then kept in the state.
return { doc = "random values that the state keeps" }
