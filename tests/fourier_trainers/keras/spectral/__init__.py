"""Tests of fourier_trainers.keras.spectral."""
