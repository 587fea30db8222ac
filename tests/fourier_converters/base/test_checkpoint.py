"""A safetensors base: which tensor a module means, and how the base stores it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fourier_converters.base import open_base
from fourier_converters.mapping import Map, MapEntry
from fourier_format.adapter import Array
from fourier_format.errors import FourierFormatError, TargetNotFoundError
from tests.fourier_converters.checkpoints import DIGITS, config, spectrum, write_base, write_peft
from tests.fourier_converters.command import Captured, converted, refused
from tests.fourier_converters.graphs import weight

STORED = weight(6, 4)


def matrix(path: Path, module: str, mapping: Map | None = None) -> Array:
    """Returns the canonical matrix that the base at `path` gives for `module`."""
    return open_base(path, mapping or Map(), {module}).weight(module).matrix


def refusal(path: Path, module: str = "query", mapping: Map | None = None) -> FourierFormatError:
    with pytest.raises(FourierFormatError) as caught:
        matrix(path, module, mapping)
    return caught.value


class TestOrientation:
    @pytest.mark.parametrize(
        ("model_type", "module", "transposed"),
        [
            ("bert", "bert.layer.0.query", False),
            ("gpt_bigcode", "h.0.c_attn", False),
            ("gpt2", "transformer.h.0.attn.c_attn", True),
            ("gpt2", "h.0.attn.c_proj", True),
            ("gpt2", "h.0.mlp.c_fc", True),
            ("gpt2", "lm_head", False),
            ("gpt2", "score", False),
            ("imagegpt", "h.0.attn.q_attn", True),
            ("llama", "model.layers.0.self_attn.q_proj", False),
        ],
    )
    def test_the_model_type_says_which_modules_are_conv1d(
        self, model_type: str, module: str, transposed: bool, tmp_path: Path
    ) -> None:
        base = write_base(tmp_path, {f"{module}.weight": STORED}, model_type)

        assert np.array_equal(matrix(base, module), STORED.T if transposed else STORED)

    def test_a_square_weight_is_turned_by_the_model_type_too(self, tmp_path: Path) -> None:
        square = weight(5, 5)
        base = write_base(tmp_path, {"h.0.c_attn.weight": square}, "gpt2")

        assert np.array_equal(matrix(base, "h.0.c_attn"), square.T)

    def test_a_model_type_that_is_not_known_does_not_say_what_its_conv1d_names_are(
        self, tmp_path: Path
    ) -> None:
        base = write_base(tmp_path, {"h.0.c_attn.weight": STORED}, "new_gpt")

        error = refusal(base, "h.0.c_attn")

        assert error.code == "E-ORIENTATION-UNKNOWN"
        assert "['new_gpt']" in str(error)

    def test_the_model_types_of_parts_count_too(self, tmp_path: Path) -> None:
        base = write_base(tmp_path, {"decoder.h.0.c_attn.weight": STORED}, None)
        text = '{"model_type": "encoder-decoder", "decoder": {"model_type": "gpt2"}}'
        (tmp_path / "config.json").write_text(text)

        assert np.array_equal(matrix(base, "decoder.h.0.c_attn"), STORED.T)

    def test_numbers_that_only_python_reads_do_no_harm_in_another_projects_config(
        self, tmp_path: Path
    ) -> None:
        base = write_base(tmp_path, {"query.weight": STORED}, None)
        (tmp_path / "config.json").write_text('{"model_type": "bert", "limit": Infinity}')

        assert np.array_equal(matrix(base, "query"), STORED)

    @pytest.mark.parametrize("text", [None, "{}", '{"model_type": null}', '{"model_type": 3}'])
    def test_without_a_model_type_nothing_is_guessed(
        self, text: str | None, tmp_path: Path, capsys: Captured
    ) -> None:
        base = write_base(tmp_path / "base", {"query.weight": STORED}, None)
        if text is not None:
            base.with_name("config.json").write_text(text)
        source = write_peft(tmp_path / "peft", spectrum("query"))

        (line,) = refused(capsys, source, "--to", "fft", "--base", base)

        assert 'say it with --map and {"layout": "out_in"} for nn.Linear' in line
        assert line.endswith("[E-ORIENTATION-UNKNOWN]")

    def test_the_remedy_that_the_error_names_works(self, tmp_path: Path) -> None:
        base = write_base(tmp_path / "base", {"query.weight": STORED}, None)
        source = write_peft(tmp_path / "peft", spectrum("query"))
        (tmp_path / "map.json").write_text('{"layout": "out_in"}')

        converted(source, "--to", "fft", "--base", base, "--map", tmp_path / "map.json")

    def test_the_map_has_the_last_word_and_the_weights_own_layout_before_the_common_one(
        self, tmp_path: Path
    ) -> None:
        base = write_base(tmp_path, {"a.c_fc.weight": STORED, "b.c_fc.weight": STORED}, "gpt2")
        mapping = Map(layout="out_in", targets={"b.c_fc": MapEntry(layout="in_out")})

        assert np.array_equal(matrix(base, "a.c_fc", mapping), STORED)
        assert np.array_equal(matrix(base, "b.c_fc", mapping), STORED.T)

    def test_a_broken_config_is_an_error_and_not_an_absent_one(self, tmp_path: Path) -> None:
        base = write_base(tmp_path, {"query.weight": STORED}, None)
        (tmp_path / "config.json").write_text('{"model_type": "bert"')

        assert refusal(base).code == "E-BASE-UNSUPPORTED"

    def test_the_config_describes_the_base(self, tmp_path: Path) -> None:
        base = write_base(tmp_path, {"query.weight": STORED})

        description = open_base(base, Map(), ()).description

        assert description == {"name": "tests/base", "model_type": "bert"}


class TestNames:
    @pytest.mark.parametrize(
        "stored", ["bert.layer.0.query", "model.bert.layer.0.query", "layer.0.query"]
    )
    def test_a_wrappers_prefix_may_be_there_or_not(self, stored: str, tmp_path: Path) -> None:
        others = {"bert.layer.1.query.weight": weight(seed=1), "query_norm.weight": np.ones(6)}
        base = write_base(tmp_path, {f"{stored}.weight": STORED} | others)

        assert np.array_equal(matrix(base, "bert.layer.0.query"), STORED)

    def test_two_modules_that_end_alike_are_not_chosen_between(self, tmp_path: Path) -> None:
        both = {"question.layer.0.query.weight": STORED, "answer.layer.0.query.weight": STORED}

        error = refusal(write_base(tmp_path, both), "layer.0.query")

        assert error.code == "E-TARGET-AMBIGUOUS"
        assert "answer.layer.0.query, question.layer.0.query" in str(error)

    def test_the_map_chooses_by_the_tensors_name(self, tmp_path: Path) -> None:
        base = write_base(tmp_path, {"x": STORED, "query.weight": weight(seed=1)})
        mapping = Map(targets={"query": MapEntry(weight="x")})

        assert np.array_equal(matrix(base, "query", mapping), STORED)

    def test_the_map_must_name_a_tensor_that_is_there(self, tmp_path: Path) -> None:
        base = write_base(tmp_path, {"query.weight": STORED})

        error = refusal(base, "query", Map(targets={"query": MapEntry(weight="typo")}))

        assert isinstance(error, TargetNotFoundError)
        assert "the map names 'typo', which is not in the base" in str(error)

    def test_the_weight_of_a_layer_norm_is_not_a_linear_layers(self, tmp_path: Path) -> None:
        error = refusal(write_base(tmp_path, {"norm.weight": np.ones(6, np.float32)}), "norm")

        assert isinstance(error, TargetNotFoundError)
        assert "got (6,), expected two axes" in str(error)

    def test_a_tied_weight_that_the_base_does_not_store_comes_from_the_checkpoint(
        self, tmp_path: Path
    ) -> None:
        base = open_base(write_base(tmp_path, {"wte.weight": STORED}, "gpt2"), Map(), {"lm_head"})

        found = base.weight("lm_head", saved=STORED)

        assert np.array_equal(found.matrix, STORED)
        assert found.source == "lm_head.weight of the adapter's own checkpoint (out_in)"


@pytest.mark.parametrize("name", ["model.bin", "model", "model.pt"])
def test_a_file_of_another_sort_is_no_base(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"something")

    error = refusal(tmp_path / name)

    assert error.code == "E-BASE-UNSUPPORTED"
    assert "save the model with save_pretrained" in str(error)


def test_an_onnx_base_knows_the_orientation_itself(tmp_path: Path) -> None:
    module = "blocks.0.mlp.fc1"
    found = open_base(DIGITS / "base.onnx", Map(), {module}).weight(module)

    assert found.matrix.shape == (192, 96)
    assert found.source == "val_83 (by name scopes)"


def test_an_onnx_base_and_its_checkpoint_give_the_same_adapter(tmp_path: Path) -> None:
    """The name of the base apart: an ONNX file does not know it."""
    source = write_peft(tmp_path / "peft", spectrum("h.c_fc"), config())
    matrices = {"h.c_fc.weight": STORED.T}
    checkpoint = write_base(tmp_path / "base", matrices, "gpt2")
    from fourier_format import load
    from tests.fourier_converters import graphs

    onnx = graphs.save(
        graphs.model(graphs.LINEAR, {"val_1": STORED.T}, {"node_MatMul": "h.c_fc"}),
        tmp_path / "base.onnx",
    )

    adapters = []
    for number, base in enumerate((checkpoint, onnx)):
        output = tmp_path / f"{number}.fft"
        converted(source, "--to", "fft", "--base", base, "-o", output)
        adapters.append(load(output))

    one, two = (a.entry_sets[0] for a in adapters)
    assert one.shape == two.shape == (6, 4)
    assert np.array_equal(one.entries, two.entries)
    assert one.fingerprints is not None
    assert two.fingerprints is not None
    assert np.array_equal(one.fingerprints.sha256, two.fingerprints.sha256)
    assert np.array_equal(one.fingerprints.samples, two.fingerprints.samples)
