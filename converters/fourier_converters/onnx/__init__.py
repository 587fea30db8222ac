"""Adapters into ONNX graphs: find the weights, merge, write. Needs onnx, and no framework.

model -> uses -> candidates -> matching -> sharing -> plan -> applying through a store
"""

from fourier_converters.onnx.convert import to_onnx
from fourier_converters.onnx.explaining import explain
from fourier_converters.onnx.generative import to_onnx_directory
from fourier_converters.onnx.loading import MergedAtLoad, merge_at_load

__all__ = ["MergedAtLoad", "explain", "merge_at_load", "to_onnx", "to_onnx_directory"]
