"""What export_base refuses on each backend: the error, what it says, and that nothing is left."""

import pytest

from tests.fourier_trainers.keras.exporting.exports import BACKENDS, Backend, RefusalsOf

pytestmark = pytest.mark.real
_EXPECTED = {
    "never called": ("UsageError", "E-USAGE", "never built or called"),
    "no model": ("UsageError", "E-USAGE", "no Keras model"),
    "float16": ("UnsupportedError", "E-CONVERSION-UNSUPPORTED", "head/kernel"),
    "mixed_bfloat16": ("UnsupportedError", "E-CONVERSION-UNSUPPORTED", "bfloat16"),
    "operation": ("UnsupportedError", "E-CONVERSION-UNSUPPORTED", "Erfinv"),
    "other result": ("UnsupportedError", "E-CONVERSION-UNSUPPORTED", "something else than Keras"),
    "inputs": ("UsageError", "E-USAGE", "x (2, 7)"),
    "packages": ("DependencyMissingError", "E-DEPENDENCY-MISSING", "fourier-format[keras-onnx]"),
}


@pytest.mark.parametrize("case", _EXPECTED)
@pytest.mark.parametrize("backend", BACKENDS)
def test_an_error_says_what_is_wrong(backend: Backend, case: str, refusals_of: RefusalsOf) -> None:
    kind, code, words = _EXPECTED[case]

    found = refusals_of(backend)[case]

    assert (found["kind"], found["code"]) == (kind, code)
    assert words in found["text"]
    assert found["left"] == []


def test_an_operation_is_named_with_its_layer(refusals_of: RefusalsOf) -> None:
    for backend in BACKENDS:
        assert "inverse" in refusals_of(backend)["operation"]["text"]
    assert "erf_inv" in refusals_of("torch")["operation"]["text"]


def test_from_jax_a_model_that_cannot_be_saved_is_an_error(refusals_of: RefusalsOf) -> None:
    """The other backends need no saving."""
    found = refusals_of("jax")["not saved"]

    assert found["code"] == "E-CONVERSION-UNSUPPORTED"
    assert "cannot be saved as .keras" in found["text"]
    assert found["left"] == []
    assert refusals_of("tensorflow")["not saved"]["left"] == ["model.onnx"]
    assert refusals_of("torch")["not saved"]["left"] == ["model.onnx"]
