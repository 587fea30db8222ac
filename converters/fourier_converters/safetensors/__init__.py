"""Adapters merged into Hugging Face checkpoints; neither torch nor safetensors is imported."""

from fourier_converters.safetensors.convert import to_checkpoint

__all__ = ["to_checkpoint"]
