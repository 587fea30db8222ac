"""Tests of fourier_trainers.spectral."""
