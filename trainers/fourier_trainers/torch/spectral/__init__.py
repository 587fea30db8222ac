"""The arithmetic of delta weights in torch, apart from any layer or module."""
