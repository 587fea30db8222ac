"""Instruction tuning: the recipe at LLaMA-2-7B's size, and its cost on a tiny model."""
