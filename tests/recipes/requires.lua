requires { vmrun = "~> 0.4" }
