"""What was done, in words that the trials' own fields decide."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.evidence.formatting import listed
from experiments.evidence.trainings import Group, called, method_name, of_kind
from experiments.text.tasks import TASKS

_SIMILARITY = {"minilm": "all-MiniLM-L6-v2", "all-mpnet-base-v2": "all-mpnet-base-v2"}

INTERVALS = """\
Intervals of means are Student's over seeds. Differences are of the same seeds on the same examples;
theirs are a bootstrap over examples (10,000 resamples) with the error of the mean over seeds added,
for other examples and other seeds alike; with one seed, for other examples alone. Beside some
stands Student's over seeds alone. "Clearly" above or below means that the interval leaves out 0;
where it does not, no difference is shown, and none up to its ends is ruled out."""


def protocol(found: Sequence[Group]) -> str:
    """Returns the splits, the rule of parity, and what is adapted, as a list."""
    lines = [*(_split(task) for task in _tasks(found)), _rates(found), *_model(found[0])]
    return "\n".join(f"- {line}" for line in [*lines, *_training(found)])


def _tasks(found: Sequence[Group]) -> list[str]:
    names = {group.task for group in found}
    return [name for name in TASKS if name in names]


def _split(name: str) -> str:
    group_rows = {"sst2": " The test is the original corpus's, labelled."}
    if TASKS[name].reported == "dev":
        text = "a fixed tenth of train chooses; GLUE's dev reports, once, and is called dev."
    else:
        text = "train trains, dev chooses, test reports, once." + group_rows.get(name, "")
    return f"{called(name)}: {text}"


def _rates(found: Sequence[Group]) -> str:
    counts = {len(group.tried) for group in found if group.tried}
    seeds = sorted({record.trial["seed"] for group in found for record in group.tried})
    fresh = sorted({seed for group in found for seed in group.seeds})
    tried = listed([str(count) for count in sorted(counts)])
    unequal = "" if len(counts) == 1 else " **The methods were not tried equally often.**"
    return (
        f"Parity: {tried} rates for each method and task, each once, seed "
        f"{listed([str(seed) for seed in seeds])}; the rate whose best epoch scores highest on the "
        "choosing split is taken, the lower one on a tie. Then "
        f"{'seeds' if len(fresh) > 1 else 'seed'} {listed([str(seed) for seed in fresh])} "
        f"{'report' if len(fresh) > 1 else 'reports'}; no trial that chose a rate saw the "
        f"reporting split.{unequal} The epoch is the first with the highest score on the choosing "
        "split, for every method. Equal seeds have equal heads at the start and equal batches. "
        "alpha, n and the rank were fixed beforehand."
    )


def _model(group: Group) -> list[str]:
    trial = group.runs[0].trial
    layers = trial["trained_layers"]
    which = f"the last {layers} layers alone" if layers else "all layers"
    below = (
        " What lies below is frozen for every method and computed once, without dropout."
        if layers
        else ""
    )
    name = _SIMILARITY.get(trial["model"], trial["model"])
    text = (
        f'Model: {name}. Query and value of {which} are adapted.{below} "Full fine-tuning" trains '
        "all weights of these layers and of the pooler, not the embeddings. Every method trains "
        "the same new head beside it."
    )
    similar = (
        "The encoder is a sentence-similarity model, strong on STS-B before any training; so the "
        "untuned cosine stands in the tables of MRPC and STS-B."
    )
    return [text, similar] if trial["model"] in _SIMILARITY else [text]


def _training(found: Sequence[Group]) -> list[str]:
    trials = [run.trial for group in found for run in group.runs]
    epochs = {name: {t["epochs"] for t in trials if t["task"] == name} for name in _tasks(found)}
    rows = {t["task"]: t["rows"] for t in trials if t["rows"] is not None}
    each = listed([f"{_or(counts)} for {called(name)}" for name, counts in epochs.items()])
    some = listed(
        [f"{count:,} rows of {called(name)}'s train, drawn once" for name, count in rows.items()]
    )
    precision = _or({t["precision"] for t in trials})
    heads = {f"{t['head_rate']:g}" for t in trials if t["method"]["kind"] != "head"}
    text = (
        f"Epochs: {each}; batches of {_or({t['batch'] for t in trials})} rows of like length, at "
        f"most {_or({t['length'] for t in trials})} tokens{'; ' if some else ''}{some}. AdamW, no "
        "weight decay, a linear rise over 6 % of the steps and a linear fall. The head's rate is "
        f"{_or(heads)} beside every method; of the head alone it is what is chosen."
    )
    lines = [text]
    if "bfloat16" in precision:
        lines.append(
            "Products are in bfloat16 under autocast while training; parameters, evaluation and "
            "everything that is reported are in float32."
        )
    fourier = of_kind(found, "fourier")
    if fourier is not None:
        lines.append(f"{method_name(fourier.method)} has alpha {fourier.method['alpha']:g}.")
    return lines


def _or(values: set[object] | set[str] | set[int]) -> str:
    return " or ".join(sorted(str(value) for value in values))
