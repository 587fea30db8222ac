"""Files made to do harm: a reader refuses them with a code, in bounded time and memory.

- `test_bit_flips`: damage. Every bit of a .fft is held by a rule or by the digest.
- `test_mutations`: ten thousand .fft files, broken at random and by structure under right digests.
- `test_bombs`: small files that ask for much: long headers, deep JSON, open strings, terabytes.
- `test_hdf5_mutations`: the same for .fft.h5, in a child process, for libhdf5 itself may crash.
"""
