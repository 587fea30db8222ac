"""Train FourierFT adapters in Keras 3, on TensorFlow, JAX or PyTorch.

    attach(model, FourierConfig(target_modules=("query", "value")))
    model.compile(...)
    model.fit(..., callbacks=[AdapterCallback("adapter.fft", monitor="val_accuracy")])

The model stays the object that it is: its layers compute with the sum of weight and delta weight.
"""

from fourier_trainers.config import BandPass, Explicit, FourierConfig, TorchRandperm, Uniform
from fourier_trainers.keras.attaching import attach, detach
from fourier_trainers.keras.callbacks import AdapterCallback
from fourier_trainers.keras.capturing import capture
from fourier_trainers.keras.exporting import ExportReport, export_base
from fourier_trainers.keras.loading import load_adapter
from fourier_trainers.keras.merging import merge, unmerge
from fourier_trainers.keras.naming import named_layers
from fourier_trainers.keras.saving import FourierModel

__all__ = [
    "AdapterCallback",
    "BandPass",
    "Explicit",
    "ExportReport",
    "FourierConfig",
    "FourierModel",
    "TorchRandperm",
    "Uniform",
    "attach",
    "capture",
    "detach",
    "export_base",
    "load_adapter",
    "merge",
    "named_layers",
    "unmerge",
]
