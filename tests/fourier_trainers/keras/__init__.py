"""Tests of fourier_trainers.keras, on the backend that KERAS_BACKEND names."""
