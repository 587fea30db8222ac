"""Tests of fourier_trainers.torch.spectral."""
