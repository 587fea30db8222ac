"""Tests of reading bases from safetensors."""
