"""The conformance vectors, built from the text of the specification alone.

Nothing here imports fourier_format: the vectors test it, so they must not come from it. Python's
integers and its float64 arithmetic are all that is needed.
"""
