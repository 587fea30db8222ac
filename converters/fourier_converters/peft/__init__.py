"""PEFT checkpoints to adapters and back; neither torch nor peft is imported."""

from fourier_converters.peft.exporting import to_peft
from fourier_converters.peft.importing import from_peft

__all__ = ["from_peft", "to_peft"]
