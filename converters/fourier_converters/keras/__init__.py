"""Adapters merged into Keras's own files; neither Keras nor a backend of it is imported."""

from fourier_converters.keras.convert import to_keras

__all__ = ["to_keras"]
