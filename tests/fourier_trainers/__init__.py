"""Tests of fourier_trainers."""
