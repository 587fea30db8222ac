"""The live graph: a base whose rows take the coefficients of their own adapters at each run."""
