"""fourier-format: the portable form of FourierFT adapters.

    adapter = fourier_format.load("adapter.fft")
    delta = fourier_format.delta_weight(adapter, "encoder.layer.0.attention.self.query")

NumPy only; no framework is imported, and SciPy and jsonschema where they are first used.
"""

from fourier_format.adapter import Adapter, EntrySet, Fingerprints, Sampling, Target
from fourier_format.combination import combine
from fourier_format.errors import FourierFormatError, InvalidAdapterError
from fourier_format.files import from_bytes, load, save, to_bytes
from fourier_format.transforms import delta_weight

__all__ = [
    "Adapter",
    "EntrySet",
    "Fingerprints",
    "FourierFormatError",
    "InvalidAdapterError",
    "Sampling",
    "Target",
    "combine",
    "delta_weight",
    "from_bytes",
    "load",
    "save",
    "to_bytes",
]

__version__ = "0.1.0"
