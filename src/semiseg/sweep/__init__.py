"""Several trainings under one command: which jobs there are, how they run, what is kept of them."""
