"""Adapters merged into Hugging Face checkpoints."""
