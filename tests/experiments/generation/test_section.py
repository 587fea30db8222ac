"""The page says of generation what the numbers say, whichever way they fall."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from experiments.evidence.blocks import Aim, Block, Figure, Table
from experiments.evidence.evidence import Evidence
from experiments.evidence.sections.generation import SECTION, smoothed
from experiments.generation.bootstrap import differences
from experiments.generation.plan import GENERATION
from experiments.generation.scoring import bleu
from experiments.generation.trial import GenerationTrial
from experiments.records import Book, Record
from experiments.trial import Json, Options, described, key

_MEANINGS = 40


def scored(skill: float, seed: int = 0) -> Json:
    """Return scores of made-up counts: of ten words each so many n-grams are right."""
    generator = np.random.default_rng(seed)
    right = generator.binomial(np.array([10, 9, 8, 7]), skill, size=(_MEANINGS, 4))
    counts = [[*map(int, row), 10, 9, 8, 7, 10, 10] for row in right]
    rouge = [float(row[0]) / 10 for row in counts]
    return {
        "bleu": bleu(counts), "nist": 5.0, "rouge_l": float(np.mean(rouge)), "ended": _MEANINGS,
        "of_each": {"bleu_counts": counts, "rouge_l": rouge, "tokens": [12] * _MEANINGS},
    }  # fmt: skip


def seeds(skill: float, *numbers: int) -> dict[int, Json]:
    """Return scores of several seeds."""
    return {seed: scored(skill, seed) for seed in numbers}


def result(trial: GenerationTrial, skills: dict[str, float], margins: list[float]) -> Json:
    """Return what a trial might give."""
    losses = [2.0, 1.6, 1.5]
    epoch = {"loss": 1.5, "losses": losses, "steps": 3, "seconds": 9.0, "cpu_seconds": 2.4}
    epoch["peak_bytes"] = 2**30
    found: Json = {"meanings": 492, "choosing": 54}
    if trial.method is not None:
        found |= {
            "history": [epoch] * trial.epochs, "epoch": trial.epochs, "choose": -1.2 - trial.rate,
            "choose_loss": 1.2 + trial.rate, "parameters": 16000, "file_bytes": 70_000,
            "learned_answers": 1400,
        }  # fmt: skip
    if trial.report:
        kind = "untuned" if trial.method is None else trial.method.kind
        scores = scored(skills[kind], trial.seed)
        apart = {"ids": list(range(_MEANINGS)), "test_meanings": 777}
        apart["loss"] = 3.0 - skills[kind] - 0.01 * trial.seed
        found["report"] = apart | scores
        if trial.serve:
            differing = [{"id": 7, "token": 3, "margin": margin} for margin in margins]
            found["onnxruntime"] = {
                "runtime": "onnxruntime-genai", "seconds": 9.0, "convert_seconds": 0.4,
                "answers": _MEANINGS, "tokens": 480, "differing": differing, "margins_below": 1,
                **scores,
            }  # fmt: skip
    return found


def made(
    folder: Path, margins: list[float], lost: tuple[int, ...] = (), **skills: float
) -> list[Block]:
    """Return the section of made-up results; LoRA's seeds in `lost` have diverged."""
    book = Book("small", folder)
    for _ in range(2):
        for trial in GENERATION.plan(Options("small"), book).trials:
            assert isinstance(trial, GenerationTrial)
            fields = key(trial), trial.label, trial.work, trial.steps, described(trial)
            found = result(trial, skills, margins)
            if trial.method and trial.method.kind == "lora" and trial.seed in lost:
                del found["report"]
                found |= {"diverged": 1, "epoch": 1}
            book.add(Record(*fields, found, 9.0, {"device": "cpu"}))
    records = tuple(sorted(book, key=lambda found: found.label))
    return list(SECTION.render(Evidence("small", {"generation": records})))


def words(blocks: list[Block]) -> str:
    """Return the prose, on one line."""
    return " ".join(" ".join(block for block in blocks if isinstance(block, str)).split())


@pytest.mark.parametrize(
    ("fourier", "expected"),
    [(0.9, "clearly above"), (0.7, "no clear difference"), (0.4, "clearly below")],
)
def test_a_difference_is_called_what_it_is(fourier: float, expected: str, tmp_path: Path) -> None:
    found = words(made(tmp_path, [], fourier=fourier, lora=0.7, untuned=0.2))

    assert f"BLEU of FourierFT n = 1000 against LoRA r = 8: {expected}, " in found
    assert "BLEU of LoRA r = 8 against untuned: clearly above, " in found


@pytest.mark.parametrize(
    ("fourier", "expected", "counted"),
    [
        (0.9, "clearly below, by -0.200 [-0.200, -0.200]", "clearly above 0, 0 clearly below"),
        (0.4, "clearly above, by +0.300 [+0.300, +0.300]", "0 clearly above 0, 3 clearly below"),
    ],
)
def test_a_lower_loss_is_counted_as_the_better(
    fourier: float, expected: str, counted: str, tmp_path: Path
) -> None:
    found = words(made(tmp_path, [], fourier=fourier, lora=0.7, untuned=0.2))

    assert f"loss (lower is better) of FourierFT n = 1000 against LoRA r = 8: {expected}." in found
    assert "4 differences, FourierFT minus LoRA (of the loss with its sign turned): " in found
    assert counted in found


def test_nist_and_the_loss_have_the_interval_over_seeds(tmp_path: Path) -> None:
    blocks = made(tmp_path, [], fourier=0.9, lora=0.7, untuned=0.2)

    table = next(b for b in blocks if isinstance(b, Table) and b.header[0] == "difference")
    assert table.header[2:] == ("BLEU", "NIST", "ROUGE-L", "loss")
    assert [row[3] for row in table.rows] == ["0.00 [0.00, 0.00]"] * 3
    assert "those of NIST and of the loss are Student's over seeds alone" in words(blocks)


def test_a_rate_at_an_end_is_told_beside_the_differences(tmp_path: Path) -> None:
    found = words(made(tmp_path, [], fourier=0.9, lora=0.7, untuned=0.2))

    ends = "FourierFT n = 1000's the lowest and LoRA r = 8's the lowest"
    assert f"the best was at an end, {ends}: better ones may lie beyond" in found


@pytest.mark.parametrize(("margins", "reached"), [([], True), ([3e-5], True), ([2e-3], False)])
def test_a_difference_of_runtimes_is_listed_and_judged(
    margins: list[float], reached: bool, tmp_path: Path
) -> None:
    blocks = made(tmp_path, margins, fourier=0.7, lora=0.7, untuned=0.2)

    (aim,) = [block for block in blocks if isinstance(block, Aim)]
    assert aim.reached is reached
    cells = [
        cell for block in blocks if isinstance(block, Table) for row in block.rows for cell in row
    ]
    listed = [cell for cell in cells if "(id 7, token 3)" in cell]
    assert len(listed) == 4 * len(margins)  # of three seeds, and untuned


def test_it_says_what_is_not_the_papers_protocol(tmp_path: Path) -> None:
    blocks = made(tmp_path, [], fourier=0.7, lora=0.7, untuned=0.2)

    found = words(blocks)
    assert "not the paper's protocol" in found
    assert "METEOR and CIDEr are left out" in found
    at_ends = (
        "a better one may lie beyond: FourierFT n = 1000 (the lowest) and LoRA r = 8 (the lowest)"
    )
    assert at_ends in found
    assert len([block for block in blocks if isinstance(block, Figure)]) == 1
    for block in blocks:
        if isinstance(block, Table):
            assert {len(row) for row in block.rows} == {len(block.header)}


def test_what_is_the_same_differs_by_nothing() -> None:
    found = differences(seeds(0.7, 1, 2), seeds(0.7, 1, 2))

    assert all((each.mean, each.low, each.high) == (0, 0, 0) for each in found.values())


def test_one_shared_seed_gives_a_difference_without_an_interval() -> None:
    found = differences(seeds(0.7, 1, 2), seeds(0.5, 2, 3))["rouge_l"]

    expected = scored(0.7, 2)["rouge_l"] - scored(0.5, 2)["rouge_l"]
    assert found.mean == pytest.approx(expected)
    assert found.low is found.high is None
    assert not differences(seeds(0.7, 1), seeds(0.5, 2))


def test_seeds_are_paired_by_their_number() -> None:
    """Runs that ended in another order are the same runs."""
    ours, theirs = seeds(0.7, 1, 2, 3), seeds(0.5, 1, 2, 3)

    assert differences(ours, seeds(0.5, 3, 1, 2)) == differences(ours, theirs)
    alike = differences(seeds(0.7, 1, 2, 3), seeds(0.7, 3, 2, 1))
    assert all((each.mean, each.low, each.high) == (0, 0, 0) for each in alike.values())


def test_seeds_that_differ_widen_the_interval() -> None:
    base = seeds(0.5, 1, 2, 3)
    alike = {seed: scored(0.7, 1) for seed in base}
    unlike = {seed: scored(skill, 1) for seed, skill in zip(base, (0.6, 0.7, 0.8), strict=True)}
    once = dict.fromkeys(base, scored(0.5, 1))

    narrow, wide = (differences(each, once)["rouge_l"] for each in (alike, unlike))

    assert narrow.ends[1] - narrow.ends[0] > 0
    assert wide.ends[1] - wide.ends[0] > 2 * (narrow.ends[1] - narrow.ends[0])


def test_a_curve_is_smoothed_without_losing_its_ends() -> None:
    x, y = smoothed([float(k) for k in range(400)])

    assert len(x) == len(y) == 40
    assert (x[0], y[0]) == (5.5, 4.5)
    assert smoothed([3.0, 2.0]) == ([1.0, 2.0], [3.0, 2.0])


def test_what_the_numbers_are_not_is_said(tmp_path: Path) -> None:
    found = words(made(tmp_path, [], fourier=0.7, lora=0.7, untuned=0.2))

    for said in (
        "given the rate", "no equality", "One seed gives no interval", "Best at their last epoch",
        "3 of 3 seeds of FourierFT n = 1000", "4 differences, FourierFT minus LoRA (of the loss",
        "40 of the test split's 777",
        "3 references of a meaning, 3 a row, 2 rows a step", "weight decay 0", "first 6 % of steps",
        "products in bfloat16", "labels smoothed by 0", "beta = 1.2", "not comparable",
    ):  # fmt: skip
        assert said in found, said
    assert "Half run" not in found


def test_a_fresh_seed_that_diverged_does_not_vanish(tmp_path: Path) -> None:
    blocks = made(tmp_path, [], lost=(2, 3), fourier=0.7, lora=0.5, untuned=0.2)

    found = words(blocks)
    assert "LoRA r = 8 at rate 0.0003, seed 2 (epoch 1, nothing to report)" in found
    assert "BLEU of FourierFT n = 1000 against LoRA r = 8: " in found
    assert "from one seed: no interval" in found
    scores = next(block for block in blocks if isinstance(block, Table))
    assert [row[:2] for row in scores.rows] == [
        ["untuned", "-"], ["FourierFT n = 1000", "3"], ["LoRA r = 8", "1"],
    ]  # fmt: skip


def test_a_step_is_processor_time_over_all_steps(tmp_path: Path) -> None:
    blocks = made(tmp_path, [], fourier=0.7, lora=0.7, untuned=0.2)

    table = next(b for b in blocks if isinstance(b, Table) and "a step" in b.header)
    place = list(table.header).index("a step")
    assert {row[place] for row in table.rows} == {"800 ms"}


def test_what_is_half_run_says_so(tmp_path: Path) -> None:
    book = Book("small", tmp_path)
    for trial in GENERATION.plan(Options("small"), book).trials:
        assert isinstance(trial, GenerationTrial)
        fields = key(trial), trial.label, trial.work, trial.steps, described(trial)
        made_up = result(trial, {"untuned": 0.2}, [])
        book.add(Record(*fields, made_up, 9.0, {"device": "cpu"}))

    found = words(list(SECTION.render(Evidence("small", {"generation": tuple(book)}))))

    assert "No fresh seed has reported yet." in found
    assert "begun: FourierFT n = 1000 (4 rates tried, no seed so far) and LoRA r = 8 (4" in found
    assert "is chosen" not in found
    assert "a better one may lie beyond" not in found
    assert "last epoch" not in found


def section(folder: Path, keep: Callable[[GenerationTrial], bool], **more: object) -> list[Block]:
    """Return the section of the made-up results that are kept, with other fields of the results."""
    book, kept = Book("small", folder), set()
    for _ in range(2):
        for trial in GENERATION.plan(Options("small"), book).trials:
            assert isinstance(trial, GenerationTrial)
            if keep(trial):
                kept.add(key(trial))
            fields = key(trial), trial.label, trial.work, trial.steps, described(trial)
            skills = {"fourier": 0.7, "lora": 0.7, "untuned": 0.2}
            found = result(trial, skills, []) | (more if trial.method else {})
            book.add(Record(*fields, found, 9.0, {"device": "cpu"}))
    records = tuple(found for found in book if found.key in kept)
    return list(SECTION.render(Evidence("small", {"generation": records})))


def test_a_method_without_any_record_is_named(tmp_path: Path) -> None:
    found = section(tmp_path, lambda trial: trial.method is None or trial.method.kind != "lora")

    assert "nothing yet: LoRA r = 8." in words(found)
    assert next(block.reached for block in found if isinstance(block, Aim)) is True


def test_a_model_that_was_not_served_leaves_the_aim_open(tmp_path: Path) -> None:
    found = section(tmp_path, lambda trial: trial.method is not None)

    assert "nothing yet: untuned." in words(found)
    (aim,) = [block for block in found if isinstance(block, Aim)]
    assert aim.reached is None
    assert aim.found.endswith("; 3 of 4 served")


def test_where_no_loss_was_finite_there_is_no_curve(tmp_path: Path) -> None:
    epoch: Json = {"loss": None, "losses": [], "steps": 0, "seconds": 9.0, "cpu_seconds": 2.4}
    epoch["peak_bytes"] = 2**30
    found = section(tmp_path, lambda _: True, history=[epoch, epoch])

    assert "No training loss was finite, so there is no curve." in words(found)
    assert not [block for block in found if isinstance(block, Figure)]
