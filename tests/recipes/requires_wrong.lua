requires { vmrun = ">= 0.1, newer" }
