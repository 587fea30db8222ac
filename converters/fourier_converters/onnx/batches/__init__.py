"""Where the batch is: on which axis of a value row r of the batch lies, proven from the graph.

inputs -> leading -> sizes in numbers -> a state for each value, node by node (rules) -> Batches
"""

from fourier_converters.onnx.batches.batches import Batch, Batches

__all__ = ["Batch", "Batches"]
