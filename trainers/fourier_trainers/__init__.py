"""Trainers: models made trainable by spectral coefficients, and captured as adapters.

One package a framework; `fourier_trainers.torch` is PyTorch's. Importing this one loads none.
"""
