"""What a map file says of a graph: it chooses, it skips, and it cannot override the fingerprint."""

from __future__ import annotations

import numpy as np
import pytest

from tests.fourier_converters.adapters import adapter, delta, without_prints
from tests.fourier_converters.graphs import weight
from tests.fourier_converters.onnx.setting import K, Q, Setting


def test_an_initializer_can_be_named(setting: Setting) -> None:
    setting.base(names=None)
    whole = without_prints({"a": Q})

    (row,) = setting.merge(whole, *setting.map(targets={"a": {"initializer": "val_1"}}))["rows"]

    assert row["evidence"] == "map"
    assert np.allclose(setting.merged("val_1"), Q + delta(whole, "a"), atol=1e-6)


def test_a_node_can_be_named(setting: Setting) -> None:
    setting.base(k=Q, names=None)

    (row,) = setting.merge(adapter({"a": Q}), *setting.map(targets={"a": {"node": "k"}}))["rows"]

    assert (row["found"], row["evidence"]) == ("val_2", "map + fingerprint")


def test_it_cannot_merge_into_another_models_weight(setting: Setting) -> None:
    setting.base()
    entry = {"initializer": "val_2"}

    (line,) = setting.refuse(adapter({"enc.q": Q}), *setting.map(targets={"enc.q": entry}))

    assert "the weight found does not have the fingerprint" in line
    assert line.endswith("[E-BASE-MISMATCH]")


@pytest.mark.parametrize("entry", [{"initializer": "typo"}, {"node": "typo"}])
def test_what_it_names_must_be_there(entry: dict[str, str], setting: Setting) -> None:
    setting.base()

    (line,) = setting.refuse(adapter({"enc.q": Q}), *setting.map(targets={"enc.q": entry}))

    assert "the map names nothing in the graph that reads a weight of this shape" in line
    assert "expected (out, in) 8x8" in line


def test_two_targets_cannot_be_given_one_node(setting: Setting) -> None:
    setting.base(k=Q)
    entries = {"a": {"node": "q"}, "b": {"node": "q"}}

    (line,) = setting.refuse(adapter({"a": Q, "b": Q}), *setting.map(targets=entries))

    assert line.endswith("[E-USE-CLAIMED]")


def test_what_it_skips_is_left_as_it_was_and_reported(setting: Setting) -> None:
    setting.base()
    whole = adapter({"enc.q": Q, "enc.k": K}, replacements={"head.weight": np.ones((2, 2))})
    skip = {"skip": True}

    arguments = setting.map(targets={"enc.k": skip}, replacements={"head.weight": skip})
    report = setting.merge(whole, *arguments)

    assert report["skipped"] == ["enc.k", "head.weight"]
    assert [row["target"] for row in report["rows"]] == ["enc.q"]
    assert np.array_equal(setting.merged("val_2"), K)


def test_what_it_skips_need_not_be_in_the_base(setting: Setting) -> None:
    setting.base()
    whole = adapter({"enc.q": Q, "gone": weight(3, 3)})

    setting.merge(whole, *setting.map(targets={"gone": {"skip": True}}))


def test_names_that_the_adapter_does_not_have_are_spelling_mistakes(setting: Setting) -> None:
    setting.base()
    arguments = setting.map(targets={"enc.Q": {"skip": True}}, replacements={"h": {"node": "n"}})

    lines = setting.refuse(adapter({"enc.q": Q}), *arguments, exit_code=2)

    assert [line.split(": ")[0].split(", ")[1] for line in lines] == [
        "targets.enc.Q",
        "replacements.h",
    ]


def test_a_map_that_is_not_valid_is_refused(setting: Setting) -> None:
    setting.base()

    (line,) = setting.refuse(adapter({"enc.q": Q}), *setting.map(target={}), exit_code=2)

    assert "'target' was unexpected" in line
    assert line.endswith("[E-MAP]")
