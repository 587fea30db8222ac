"""Converters: adapter + base -> another system's files, and back.

    from fourier_converters.peft import from_peft, to_peft
    from fourier_converters.onnx import to_onnx

Nothing here needs a training framework. The command is `fourier-convert`.
"""
