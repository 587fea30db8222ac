"""The arithmetic of delta weights in keras.ops, apart from any layer."""
