"""Live graphs: adapters as inputs of an ONNX graph, one for each row of a batch."""
