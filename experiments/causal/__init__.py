"""Language models that are adapted: what generation and instruction tuning share."""
