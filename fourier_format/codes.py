"""The error codes: what each means and the clause that it comes from (spec/registry.md, table 5).

The table is data, so that a test can hold it against the text of the registry.
"""

from typing import Final, NamedTuple


class CodeInfo(NamedTuple):
    """The registry's row for one code."""

    clause: str
    summary: str


CODES: Final[dict[str, CodeInfo]] = {
    "E-CONTAINER-TRUNCATED": CodeInfo("4.1", "the file ends before its header or data do"),
    "E-CONTAINER-HEADER": CodeInfo("4.1", "the safetensors header is not what clause 4.1 allows"),
    "E-CONTAINER-OFFSETS": CodeInfo(
        "4.1", "tensor data overlaps, has holes, or does not fit its shape or the file's end"
    ),
    "E-CONTAINER-DTYPE": CodeInfo("4.1", "a dtype that the format does not know"),
    "E-CONTAINER-CANONICAL": CodeInfo("4.2", "the header is not in the one defined byte order"),
    "E-NOT-FOURIER-FORMAT": CodeInfo("4.1", "the file is something else"),
    "E-HDF5-FEATURE": CodeInfo("4.4", "an HDF5 feature that the format forbids"),
    "E-JSON-SYNTAX": CodeInfo("5.1", "the manifest is not JSON in UTF-8"),
    "E-JSON-DUPLICATE-KEY": CodeInfo("5.1", "an object names a key twice"),
    "E-JSON-NUMBER": CodeInfo("5.1", "a number that is not finite or not exact everywhere"),
    "E-JSON-DEPTH": CodeInfo("5.1", "objects and arrays are nested too deep"),
    "E-JSON-SURROGATE": CodeInfo("5.1", "a string holds half of a surrogate pair"),
    "E-JSON-SIZE": CodeInfo("5.1", "the manifest is too long"),
    "E-VERSION": CodeInfo("6.1", "a version that this reader does not read"),
    "E-FIELD-UNKNOWN": CodeInfo("6.2", "a field that must be understood and is not"),
    "E-FIELD-MISSING": CodeInfo("5.2", "a required field is absent"),
    "E-FIELD-TYPE": CodeInfo("5.2", "a field has the wrong JSON type"),
    "E-FIELD-VALUE": CodeInfo("5.2", "a field has a value that is not allowed"),
    "E-TRANSFORM-UNKNOWN": CodeInfo("3.2", "a transform that the registry does not define"),
    "E-KIND-UNKNOWN": CodeInfo("3.3", "a kind of target that the registry does not define"),
    "E-DIGEST": CodeInfo("4.3", "the content does not have the digest that the file states"),
    "E-TENSOR-MISSING": CodeInfo("5.4", "a tensor that the manifest needs is absent"),
    "E-TENSOR-UNDECLARED": CodeInfo("5.4", "a tensor that the manifest does not declare"),
    "E-TENSOR-DTYPE": CodeInfo("5.4", "a tensor has the wrong dtype"),
    "E-TENSOR-SHAPE": CodeInfo("5.4", "a tensor has the wrong shape"),
    "E-ENTRY-RANGE": CodeInfo("3.1", "an entry lies outside the spectrum"),
    "E-ENTRY-DUPLICATE": CodeInfo("3.1", "an entry occurs twice"),
    "E-NUMBER-NONFINITE": CodeInfo("3.1", "a coefficient, norm or sample is not finite"),
    "E-TARGET-DUPLICATE": CodeInfo("5.3", "two targets have one name"),
    "E-TARGET-ENTRIES": CodeInfo("5.3", "a target names an entry set that is not there"),
    "E-TARGET-ROW": CodeInfo("5.3", "rows of coefficients and targets do not pair one to one"),
    "E-TARGET-SHAPE": CodeInfo("5.3", "a target and its entry set differ in shape"),
    "E-ENTRIES-DUPLICATE": CodeInfo("5.3", "two entry sets have one id"),
    "E-REPLACEMENT-DUPLICATE": CodeInfo("5.3", "two replacements have one name"),
    "E-LIMIT": CodeInfo("8", "a size beyond the format's limits"),
    "E-SAMPLING-MISMATCH": CodeInfo("7", "the entries are not what their recipe draws"),
    "E-SAMPLING-UNKNOWN": CodeInfo("7", "a sampling method or generator that is not defined"),
    "E-DEPENDENCY-MISSING": CodeInfo("-", "a package that this task needs is not installed"),
    "E-IO": CodeInfo("-", "a file cannot be read or written"),
    "E-USAGE": CodeInfo("-", "the command cannot be understood"),
    "E-OUTPUT-EXISTS": CodeInfo("-", "the output exists and is not overwritten"),
    "E-PEFT-CONFIG": CodeInfo("-", "the PEFT checkpoint cannot be read as FourierFT or WaveFT"),
    "E-PEFT-INEXPRESSIBLE": CodeInfo("-", "PEFT's format cannot hold this adapter"),
    "E-ORIENTATION-UNKNOWN": CodeInfo("-", "nothing says how the base stores a weight"),
    "E-BASE-UNSUPPORTED": CodeInfo("-", "the base is of a sort that is not supported"),
    "E-CONVERSION-UNSUPPORTED": CodeInfo("-", "sound, but this conversion does not do it"),
    "E-BASE-MISMATCH": CodeInfo("-", "the base is not the one that the adapter was trained on"),
    "E-TARGET-NOT-FOUND": CodeInfo("-", "a target, or its weight in the base, was not found"),
    "E-TARGET-AMBIGUOUS": CodeInfo("-", "a target's weight could be any of several"),
    "E-EVIDENCE-DISAGREES": CodeInfo("-", "the evidence points to different weights"),
    "E-USE-CLAIMED": CodeInfo("-", "two targets claim the same use of a weight"),
    "E-REPLACEMENT-SHAPE": CodeInfo("-", "a replacement and the base's tensor differ in shape"),
    "E-REPLACEMENT-NOT-FOUND": CodeInfo("-", "a replacement's tensor was not found in the base"),
    "E-LORA-ENERGY": CodeInfo("-", "a LoRA of this rank would keep too little of a delta weight"),
    "E-REPLACEMENT-CONFLICT": CodeInfo("-", "adapters to combine replace a tensor differently"),
    "E-TARGET-UNREACHED": CodeInfo("-", "a forward of the model does not reach a target"),
    "E-MAP": CodeInfo("-", "the map file is not valid"),
    "E-LIVE-INTERFACE": CodeInfo("-", "a graph does not say what a live graph must say of itself"),
    "E-LIVE-LAYOUT": CodeInfo("-", "an adapter is not laid out as the live graph is"),
    "E-ADAPTER-UNKNOWN": CodeInfo("-", "no adapter of this name is loaded or can be found"),
    "E-ADAPTER-ROWS": CodeInfo("-", "the list of adapters does not fit the batch"),
    "E-PROVIDER-MISSING": CodeInfo("-", "an execution provider that this installation lacks"),
    "E-DEVICE-MEMORY": CodeInfo("-", "a device has no memory left"),
    "E-RUN-FAILED": CodeInfo("-", "ONNX Runtime refused to open a model or to run it"),
}
"""Every stable code. The clause is that of spec/fourier-format-1.0.md, "-" where none applies."""
