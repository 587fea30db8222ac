"""Trainable FourierFT adapters in Keras 3."""
