"""One adapter means the same in every implementation: see test_delta_weights."""
