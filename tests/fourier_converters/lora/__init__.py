"""Adapters as LoRA checkpoints."""
