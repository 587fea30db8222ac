"""The two containers: .fft (safetensors) and .fft.h5 (HDF5); each is bytes <-> Document."""
