"""export_base: a Keras 3 model becomes an ONNX file that is checked in ONNX Runtime.

The weights are given to the exporters as inputs of the graph, not as constants. So no exporter can
fold, transpose, share or rename one; afterwards each becomes one initializer, whole, under the name
that an adapter has for it, and `fourier-convert --to onnx` finds it.
"""

from fourier_trainers.keras.exporting.export import ExportReport, export_base

__all__ = ["ExportReport", "export_base"]
