"""Adapters as LoRA checkpoints of PEFT, as near as a low rank comes; PEFT is not imported."""

from fourier_converters.lora.exporting import to_lora

__all__ = ["to_lora"]
