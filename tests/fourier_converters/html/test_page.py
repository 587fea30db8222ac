"""A page holds the numbers, nothing that runs, and nothing that is fetched."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import fourier_format
from fourier_converters.html import changes, measuring, singular, to_html
from fourier_converters.html.markup import figure
from fourier_format import Adapter, Fingerprints, delta_weight
from fourier_format.adapter import TRANSFORMS
from fourier_format.errors import OutputExistsError
from tests.fourier_converters.html.document import elements, tables
from tests.fourier_converters.html.settings import HOSTILE, hostile, layered, made, page
from tests.fourier_format import samples
from tests.strategies import adapters

EVERY = [hostile(), layered(), layered(40), samples.adapter(), made(["a"], (1, 1), 1, alpha=0.0)]
EVERY += [made(["a", "b"], transform=transform) for transform in ("dct2", "dht2", "dwt2:sym5")]


@pytest.mark.parametrize("adapter", EVERY, ids=repr)
class TestEveryPage:
    def test_is_well_formed_and_has_no_script_handler_or_form(
        self, adapter: Adapter, tmp_path: Path
    ) -> None:
        for element in elements(page(adapter, tmp_path)):
            assert element.name not in {"script", "iframe", "form", "object", "embed", "base"}
            assert not [key for key in element.attributes if key.startswith("on")]
            assert "style" not in element.attributes  # the policy would refuse it

    def test_asks_for_nothing(self, adapter: Adapter, tmp_path: Path) -> None:
        text = page(adapter, tmp_path)

        for element in elements(text):
            for key in ("src", "href", "srcset", "action", "data", "xlink:href"):
                address = element.attributes.get(key)
                assert address is None or address.startswith(("data:", "#")), element
            if element.name == "style":
                assert not re.search(r"url\(|@import", element.text)

    def test_allows_its_own_style_sheet_alone(self, adapter: Adapter, tmp_path: Path) -> None:
        found = elements(page(adapter, tmp_path))

        (policy,) = [
            element.attributes["content"] or ""
            for element in found
            if element.attributes.get("http-equiv") == "Content-Security-Policy"
        ]
        (style,) = [element.text for element in found if element.name == "style"]
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        assert policy.split("; ") == [
            "default-src 'none'",
            "img-src data:",
            f"style-src 'sha256-{digest}'",
            "base-uri 'none'",
            "form-action 'none'",
        ]

    def test_says_in_words_what_its_pictures_and_tables_show(
        self, adapter: Adapter, tmp_path: Path
    ) -> None:
        found = elements(page(adapter, tmp_path))

        pictures = [one for one in found if one.name == "svg"]
        assert pictures
        for one in pictures:
            assert one.attributes.get("aria-hidden") == "true" or one.text.strip()
        assert all(one.attributes["scope"] in {"row", "col"} for one in found if one.name == "th")
        assert sum(one.name == "table" for one in found) == sum(
            one.name == "caption" for one in found
        )
        ids = [one.attributes["id"] for one in found if "id" in one.attributes]
        links = [one.attributes["href"] for one in found if one.name == "a"]
        assert len(ids) == len(set(ids))
        assert {f"#{id_}" for id_ in ids} >= set(links)


def test_it_is_the_same_to_the_byte_whatever_the_hashes_and_threads(tmp_path: Path) -> None:
    names = [f"layers.{i}.{module}" for i in range(3) for module in ("q", "v")]
    file = tmp_path / "a.fft"
    whole = made(names, (512, 384), 2000, labels=("cat", "dog"), metadata={"b": 1})
    fourier_format.save(whole, file)
    pages = []
    for seed, threads in (("1", "1"), ("2", "4")):
        output = tmp_path / f"{seed}.html"
        count = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads)
        command = [sys.executable, "-m", "fourier_converters.cli", str(file), "--to", "html"]
        environment = os.environ | count | {"PYTHONHASHSEED": seed}
        subprocess.run([*command, "-o", str(output), "--quiet"], check=True, env=environment)
        pages.append(output.read_bytes())

    assert pages[0] == pages[1]


@pytest.mark.parametrize("adapter", EVERY, ids=repr)
def test_no_picture_is_read_in_the_words_of_its_caption(adapter: Adapter, tmp_path: Path) -> None:
    found = elements(page(adapter, tmp_path))

    captions = {one.text for one in found if one.name == "figcaption"}
    titles = [one.text for one in found if one.name == "title"]
    assert captions
    assert not captions.intersection(titles)
    assert all(titles)


def test_hostile_names_are_text_to_the_last_character(tmp_path: Path) -> None:
    text = page(hostile(), tmp_path, name=HOSTILE, notes=(HOSTILE,))

    assert "<script" not in text
    assert "<img" not in text
    assert "\u202e" not in text
    shown = HOSTILE.replace("\u202e", "\\u202e")
    (heading,) = [one.text for one in elements(text) if one.name == "h1"]
    assert heading == shown
    assert tables(text)["Labels"] == [["class", "label"], ["0", shown], ["1", "cat"]]
    (metadata, origin) = [one.text for one in elements(text) if one.name == "pre"]
    assert "$style" in metadata
    assert origin == shown


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_the_table_has_the_numbers_of_the_delta_weights(transform: str, tmp_path: Path) -> None:
    adapter = made(["a", "b"], transform=transform)

    header, *rows = tables(page(adapter, tmp_path))["Targets"]

    assert header == ["target", "shape", "n", "|ΔW|", "σ₁", "kept by rank 8", "rank for 90 %"]
    for row, target in zip(rows, adapter.targets, strict=True):
        values = np.linalg.svd(delta_weight(adapter, target, np.float64), compute_uv=False)
        energy = np.cumsum(values**2) / (values**2).sum()
        assert row[:4] == [target.name, "24 x 36", "40", figure(float(np.linalg.norm(values)))]
        assert row[4] == figure(float(values[0]))
        assert row[5] == f"{100 * energy[7]:.0f} %"
        assert row[6] == str(int(np.searchsorted(energy, 0.9)) + 1)


def test_fingerprints_give_the_relative_change(tmp_path: Path) -> None:
    adapter = samples.adapter()

    header, *rows = tables(page(adapter, tmp_path))["Targets"]

    assert header[3:6] == ["|ΔW|", "|W|", "|ΔW| / |W|"]
    target = adapter.targets[1]
    prints = adapter.entry_set(target).fingerprints
    assert prints is not None
    norm = float(np.linalg.norm(delta_weight(adapter, target, np.float64)))
    weight = float(prints.norm[target.row])
    assert rows[1][3:6] == [figure(norm), figure(weight), figure(norm / weight)]


class TestWeightsOfZero:
    """Zero is a norm that is known: what it has no number for is left out, and that is said."""

    def zeroed(self, blocks: int, *zero: str) -> Adapter:
        """Returns a layered adapter whose weights have norm 10, or 0 by name."""
        adapter = layered(blocks)
        (only,) = adapter.entry_sets
        norms = np.array([0.0 if target.name in zero else 10.0 for target in adapter.targets])
        prints = Fingerprints(
            dtype="F32",
            samples=np.zeros((len(norms), 32), np.float32),
            norm=norms,
            sha256=np.zeros((len(norms), 32), np.uint8),
        )
        sets = (samples.changed(only, fingerprints=prints),)
        return samples.changed(adapter, entry_sets=sets)

    def test_the_others_keep_their_relative_change(self, tmp_path: Path) -> None:
        zero = "model.layers.1.self_attn.q_proj"
        adapter = self.zeroed(2, zero)

        text = page(adapter, tmp_path)

        relative = {
            t.name: figure(float(np.linalg.norm(delta_weight(adapter, t, np.float64))) / 10)
            for t in adapter.targets
        } | {zero: "-"}
        found = tables(text)
        header, *rows = found["Targets"]
        place = header.index("|ΔW| / |W|")
        assert {row[0]: row[place] for row in rows} == relative
        assert {row[0]: row[header.index("|W|")] for row in rows}[zero] == "0"
        cells = [row[1:] for row in found["|ΔW| / |W| by block and module"][1:]]
        assert [cell for row in cells for cell in row] == list(relative.values())
        tiles = [one.text for one in elements(text) if one.name == "dt"]
        assert "median |ΔW| / |W|" in tiles
        assert (
            "1 weight is zero, beside which there is no such number: - stands in its place." in text
        )
        assert "not all known" not in text
        assert "the weight is zero, so the delta weight is all there is" in text
        assert "as large as the weight" not in text
        sizes = [one.text for one in elements(text) if one.attributes.get("class") == "size"]
        assert sum(size.endswith("the weight is zero") for size in sizes) == 1

    def test_the_histogram_is_of_the_others(self, tmp_path: Path) -> None:
        zero = [f"model.layers.{i}.self_attn.q_proj" for i in range(3)]

        text = page(self.zeroed(30, *zero), tmp_path)

        assert "How many of 57 targets change by how much; the weights of 3 others are zero" in text

    def test_of_zeros_alone_norms_are_shown(self, tmp_path: Path) -> None:
        adapter = self.zeroed(2, *(target.name for target in layered(2).targets))

        text = page(adapter, tmp_path)

        assert "The weights are all zero, and nothing is relative to them." in text
        assert "median |ΔW|" in [one.text for one in elements(text) if one.name == "dt"]
        assert "|ΔW| by block and module" in tables(text)

    def test_the_report_has_no_number_of_them(self, tmp_path: Path) -> None:
        zero = "model.layers.0.self_attn.q_proj"

        report = to_html(self.zeroed(2, zero), tmp_path / "page.html")

        assert [row.target for row in report.rows if row.relative_change is None] == [zero]


def test_numbered_layers_stand_in_a_grid(tmp_path: Path) -> None:
    adapter = layered()

    header, *rows = tables(page(adapter, tmp_path))["|ΔW| by block and module"]

    assert header == ["model.layers", "self_attn.q_proj", "self_attn.v_proj"]
    assert [row[0] for row in rows] == ["0", "1", "2", "3"]
    target = adapter.target("model.layers.2.self_attn.v_proj")
    assert rows[2][2] == figure(float(np.linalg.norm(delta_weight(adapter, target, np.float64))))


def test_a_long_name_beside_a_grid_is_cut_and_whole_in_its_title(tmp_path: Path) -> None:
    long = "m" * 1000
    text = page(made([f"layers.{i}.{long}" for i in range(3)]), tmp_path)

    header, *_ = tables(text)["|ΔW| by block and module"]
    assert header == ["layers", f"{'m' * 57}..."]
    assert long in [one.attributes.get("title") for one in elements(text)]


def test_alpha_is_not_rounded(tmp_path: Path) -> None:
    text = page(made(["a"], alpha=2048.0), tmp_path)

    assert "<dt>alpha</dt><dd>2048</dd>" in text
    assert dict(tables(text)["What the adapter says of itself"])["alpha"] == "2048"


def test_the_alpha_of_the_targets_is_shown_and_not_a_default_that_none_has(tmp_path: Path) -> None:
    adapter = made(["a", "b", "c"])
    own = [samples.changed(t, alpha=2.0 + t.row) for t in adapter.targets]

    text = page(samples.changed(adapter, targets=tuple(own)), tmp_path)

    assert "<dt>alpha</dt><dd>2 to 4</dd>" in text


def test_a_size_is_rounded_before_its_unit_is_chosen(tmp_path: Path) -> None:
    sizes = {999: "999 bytes", 999_499: "999 kB", 999_700: "1 MB", 1_230_000: "1.23 MB"}
    heads = {str(size): np.zeros((size, 1), np.uint8) for size in sizes}

    found = tables(page(made(["a"], replacements=heads), tmp_path))

    _, *rows = found["Replacements: heads and biases that were trained whole"]
    assert {int(row[0]): row[2] for row in rows} == sizes


def test_the_part_of_the_spectrum_is_a_percentage_of_any_size(tmp_path: Path) -> None:
    whole, side = made(["a"], (8, 8), 64), 2**31 - 1
    few = samples.changed(whole.entry_sets[0], shape=(side, side))
    huge = samples.changed(whole.targets[0], shape=(side, side))

    pages = (
        page(whole, tmp_path),
        page(samples.changed(whole, entry_sets=(few,), targets=(huge,)), tmp_path),
    )

    shares = [tables(text)["Entry sets"][1][4] for text in pages]
    assert shares == ["100 %", "1.4e-15 %"]


class TestLegends:
    """Every picture says what its colours stand for."""

    def test_a_map_of_one_target_has_steps_to_its_largest_coefficient(self, tmp_path: Path) -> None:
        adapter = made(["a"])
        largest = float(np.abs(adapter.entry_sets[0].coefficients).max())

        text = page(adapter, tmp_path)

        shares = (0.01, 0.0625, 0.25, 1.0)
        sizes = [figure(share * largest) for share in shares]
        both = [*(f"-{size}" for size in reversed(sizes)), *sizes]
        titles = [one.text for one in elements(text) if one.name == "title"]
        assert f"Legend, from weak to strong: {', '.join(sizes)}" in titles  # of norms, unsigned
        assert titles.count(f"Legend, from weak to strong: {', '.join(both)}") == 2
        captions = [one.text for one in elements(text) if one.name == "figcaption"]
        said = f"Opacity grows with the square root; scaled to this picture's largest, {sizes[3]}"
        assert sum(said in caption for caption in captions) == 3

    def test_a_set_of_several_targets_is_scaled_to_its_own_largest(self, tmp_path: Path) -> None:
        adapter = made(["a", "b"])
        values = adapter.entry_sets[0].coefficients.astype(np.float64)

        text = page(adapter, tmp_path)

        captions = [one.text for one in elements(text) if one.name == "figcaption"]
        (of_norms,) = [c for c in captions if "over its 2 targets" in c]
        (of_rows,) = [c for c in captions if "a row a target" in c]
        norm = np.linalg.norm(values, axis=0).max()
        assert f"this picture's largest, {figure(float(norm))}" in of_norms
        assert f"this picture's largest, {figure(float(np.abs(values).max()))}" in of_rows

    def test_of_zeros_there_is_none(self, tmp_path: Path) -> None:
        adapter = made(["a"])
        silent = samples.changed(adapter.entry_sets[0], coefficients=np.zeros((1, 40), np.float32))

        text = page(samples.changed(adapter, entry_sets=(silent,)), tmp_path)

        assert "Legend" not in text
        assert text.count("All of it is zero") == 3  # a caption of each picture


class TestHistogram:
    """Of many targets a histogram shows how many change by how much."""

    NAMES = tuple(f"m{i}" for i in range(60))

    def loud(self, targets: int) -> Adapter:
        """Returns an adapter of which so many targets have norms beyond float64."""
        adapter = made(self.NAMES)
        values = np.array(adapter.entry_sets[0].coefficients)
        values[:targets] = 3e38
        loud = samples.changed(adapter.entry_sets[0], coefficients=values)
        own = [samples.changed(t, alpha=1e308) for t in adapter.targets[:targets]]
        targets_ = (*own, *adapter.targets[targets:])
        return samples.changed(adapter, entry_sets=(loud,), targets=targets_)

    def test_without_a_finite_norm_there_is_none(self, tmp_path: Path) -> None:
        text = page(self.loud(60), tmp_path)

        assert "No histogram: |ΔW| is finite of none of 60 targets." in text

    def test_what_is_left_out_is_said(self, tmp_path: Path) -> None:
        text = page(self.loud(3), tmp_path)

        said = "How many of 57 targets change by how much; 3 others are left out, not being finite"
        assert said in text

    @pytest.mark.parametrize("alpha", [0.0, 1.0, 1e17, 1e290])
    def test_equal_norms_of_any_size_are_one_bar(self, alpha: float, tmp_path: Path) -> None:
        adapter = made(self.NAMES, alpha=alpha)
        equal = samples.changed(adapter.entry_sets[0], coefficients=np.ones((60, 40), np.float32))

        text = page(samples.changed(adapter, entry_sets=(equal,)), tmp_path)

        assert "How many of 60 targets change by how much" in text


def test_what_the_adapter_says_of_itself(tmp_path: Path) -> None:
    file = tmp_path / "a.fft"
    fourier_format.save(samples.adapter(), file)

    found = tables(page(samples.adapter(), tmp_path, file=file))

    facts = dict(found["What the adapter says of itself"])
    assert facts["base model: name"] == "bert-tiny"
    assert facts["file"] == f"{file.stat().st_size:,} bytes"
    assert facts["SHA-256 of the content"].encode() in file.read_bytes()
    assert facts["target modules"] == "query, down"
    assert facts["fingerprints"] == "of 5 base weights"
    assert found["Entry sets"][1][-1] == "uniform, splitmix64-fisher-yates, seed 7"
    replacements = found["Replacements: heads and biases that were trained whole"]
    assert ["head.weight", "F16 4 x 16", "128 bytes"] in replacements


def test_what_could_not_be_looked_at_is_said(tmp_path: Path) -> None:
    unknown = page(made(["a"]), tmp_path)
    known = page(samples.adapter(), tmp_path)

    said = "the norms of the base weights are not known"
    assert said in unknown
    assert said not in known


@pytest.mark.parametrize("alpha", [30.0, 1e300, 1e-300])
def test_what_was_compared_with_nothing_is_not_said_to_be_fine(
    alpha: float, tmp_path: Path
) -> None:
    found = elements(page(made(["a", "b"], alpha=alpha), tmp_path))

    (items,) = [one.text for one in found if one.attributes.get("class") == "unknown"]
    assert "The change is finite and not zero; nothing else could be checked." in items
    assert items.endswith("Give the base with --base.")
    assert not [one for one in found if one.attributes.get("class") == "fine"]


def test_a_change_of_zero_is_seen_without_the_weights(tmp_path: Path) -> None:
    adapter = made(["a", "b", "c"])
    first, *others = adapter.targets
    silent = samples.changed(first, alpha=0.0)

    found = elements(page(samples.changed(adapter, targets=(silent, *others)), tmp_path))

    said = {one.attributes.get("class"): one.text for one in found if one.name == "li"}
    assert "1 of 3 targets (a): the delta weight is zero" in said["warning"]
    assert "Of 2 of them the change is finite and not zero" in said["unknown"]


@given(adapter=adapters())
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30
)
def test_every_valid_adapter_has_a_page(adapter: Adapter, tmp_path: Path) -> None:
    found = elements(page(adapter, tmp_path))

    assert {one.attributes.get("id") for one in found} >= {"findings", "change", "layers"}
    for one in found:
        for key in ("width", "height", "x", "y", "points", "cx", "cy"):
            assert not re.search("nan|inf", one.attributes.get(key) or ""), one


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_the_largest_shape_takes_no_more_than_its_entries(transform: str, tmp_path: Path) -> None:
    side = 2**31 - 1
    entries = np.array([[0, 0], [side - 1, 5], [side // 2, side - 2]], np.int32)
    one = made(["w"], (8, 8), 3, transform)
    wide = samples.changed(one.entry_sets[0], shape=(side, side), entries=entries)
    target = samples.changed(one.targets[0], shape=(side, side))

    text = page(samples.changed(one, entry_sets=(wide,), targets=(target,)), tmp_path)

    assert f"{side} x {side}" in text


def test_where_singular_values_do_not_converge_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(singular, "EXACT", 30)
    monkeypatch.setattr(singular, "LEADING", 10)
    monkeypatch.setattr(singular, "RESTARTS", 1)

    text = page(made(["a"], (130, 120), 3000, "dct2"), tmp_path)

    assert text.count("No singular values: ARPACK did not converge.") == 1
    assert "σ₁" not in tables(text)["Targets"][0]


class TestScale:
    def test_of_many_targets_those_that_change_most_are_shown(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(changes, "MOST_ROWS", 50)
        monkeypatch.setattr(measuring, "DETAILED", 30)
        monkeypatch.setattr(changes, "DETAILED", 30)
        adapter = made([f"m{i:03d}" for i in range(90)])

        text = page(adapter, tmp_path)

        found = tables(text)
        caption = "The 50 of 90 targets that change most; singular values of 30 of them"
        _, *rows = found[caption]
        assert len(rows) == 50
        norms = {t.name: np.linalg.norm(delta_weight(adapter, t)) for t in adapter.targets}
        assert {row[0] for row in rows} == set(sorted(norms, key=lambda n: -norms[n])[:50])
        assert "Histogram of |ΔW| over 90 targets" in text

    def test_ten_thousand_targets_make_a_small_page(self, tmp_path: Path) -> None:
        text = page(made([f"m{i}.w" for i in range(10_000)], (16, 16), 8), tmp_path)

        assert len(text) < 2_000_000
        assert "The 1,000 of 10,000 targets that change most" in text
        assert "9,744 that change less are not shown" in text

    def test_many_coefficients_make_a_small_page(self, tmp_path: Path) -> None:
        text = page(made(["w"], (512, 512), 100_000), tmp_path)

        assert len(text) < 200_000

    def test_a_long_text_is_cut_and_that_is_said(self, tmp_path: Path) -> None:
        text = page(made(["a"], metadata={"long": "x" * 10**6}), tmp_path)

        assert len(text) < 200_000
        assert "Metadata (the first 20,000 of 1,000,016 characters)" in text

    def test_many_and_long_names_are_cut_and_that_is_said(self, tmp_path: Path) -> None:
        adapter = made(
            ["a"],
            target_modules=tuple(f"layers.{i}.self_attn.q_proj" for i in range(60_000)),
            labels=(*("x" * 50_000 for _ in range(200)), *"y" * 800),
            base_model={"name": "b" * 10**6},
        )

        text = page(adapter, tmp_path)

        assert len(text) < 400_000
        found = tables(text)
        facts = dict(found["What the adapter says of itself"])
        assert facts["target modules"].startswith("the first 20 of 60,000: layers.0.self_attn")
        assert facts["target modules"].endswith("layers.19.self_attn.q_proj")
        assert facts["base model: name"].endswith("b... (1,000,000 characters)")
        _, first, *others = found["Labels (the first 200 of 1,000)"]
        assert first[1].endswith("x... (50,000 characters)")
        assert len(others) == 199


class TestOutput:
    def test_it_is_whole_or_absent(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fails(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("fourier_converters.html.convert.spectra.layers", fails)
        with pytest.raises(KeyboardInterrupt):
            to_html(made(["a"]), tmp_path / "page.html")

        assert list(tmp_path.iterdir()) == []

    def test_it_is_not_overwritten_unasked(self, tmp_path: Path) -> None:
        (tmp_path / "page.html").write_text("mine")

        with pytest.raises(OutputExistsError):
            to_html(made(["a"]), tmp_path / "page.html")

        assert (tmp_path / "page.html").read_text() == "mine"

    def test_progress_is_told(self, tmp_path: Path) -> None:
        told: list[tuple[str, str]] = []

        to_html(
            made(["a", "b"]),
            tmp_path / "page.html",
            progress=lambda what: lambda name: told.append((what, name)),
        )

        assert told == [("measuring", "a"), ("measuring", "b")]
