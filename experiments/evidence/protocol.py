"""What was done, in words that the trials' own fields and the code's constants decide."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from experiments.evidence.codes import compared
from experiments.evidence.formatting import listed
from experiments.evidence.trainings import Group, called, of_kind
from experiments.fixed import ATTENTION_DROPOUT, WARM_UP
from experiments.text.tasks import TASKS
from experiments.trial import Json

_SENTENCE_ENCODERS = {
    "minilm": "all-MiniLM-L6-v2",
    "sentence-transformers/all-mpnet-base-v2": "all-mpnet-base-v2",
}
_KINDS = ("fourier", "lora", "full", "head")


def protocol(found: Sequence[Group]) -> str:
    """Returns the splits, the rule of parity, and what is trained and how, as a list."""
    lines = [*(_split(task) for task in _tasks(found)), *parity(found), *_model(found)]
    lines += [*methods(found), *_training(found)]
    return "\n".join(f"- {line}" for line in lines)


def parity(found: Sequence[Group]) -> list[str]:
    """Returns how rates were chosen, which were tried, and the head's beside other methods."""
    by_name = [(group.name, group.trials) for group in found]
    return [_rates(found), _grids(found), *_heads(found), *compared(by_name)]


def methods(found: Sequence[Group]) -> list[str]:
    """Returns a line for each method that has settings of its own."""
    lines = []
    for kind in ("fourier", "lora", "full"):
        of = [group for group in found if group.method["kind"] == kind]
        for name in dict.fromkeys(group.name for group in of):
            given = [group.method for group in of if group.name == name]
            lines.append(_method(kind, name, given))
    return lines


def _tasks(found: Sequence[Group]) -> list[str]:
    names = {group.task for group in found}
    return [*(name for name in TASKS if name in names), *sorted(names - set(TASKS))]


def _split(name: str) -> str:
    once = "once a trial; nothing is chosen on it"
    if TASKS[name].reported == "dev":
        text = f"a fixed tenth of train chooses; GLUE's dev, which is called dev, reports, {once}."
        return f"{called(name)}: {text}"
    beside = {"sst2": " The test is the original corpus's, labelled."}.get(name, "")
    return f"{called(name)}: train trains, dev chooses; test reports, {once}.{beside}"


def _rates(found: Sequence[Group]) -> str:
    counts = {len(group.tried) for group in found}
    seeds = {record.trial["seed"] for group in found for record in group.tried}
    fresh = {seed for group in found for seed in group.seeds}
    many = " and task" if len(_tasks(found)) > 1 else ""
    unequal = "" if len(counts) == 1 else " **The methods were not tried equally often.**"
    return (
        f"Parity: {_or(counts)} rates for each method{many}, each once, seed {_or(seeds)}; the "
        "rate whose best epoch scores highest on the choosing split is taken, the lower one on a "
        f"tie. Then fresh seeds report: {listed([str(seed) for seed in sorted(fresh)])}. No trial "
        f"that chose a rate saw the reporting split.{unequal} The epoch is the first with the "
        "highest score on the choosing split, for every method. Equal seeds have equal heads at "
        f"the start and equal batches.{_fixed(found)}"
    )


def _fixed(found: Sequence[Group]) -> str:
    """What was fixed before any trial: " alpha 150, n = 600 and r = 8 were fixed beforehand."."""
    names = {"alpha": "alpha", "n": "n =", "rank": "r ="}
    each = []
    for kind, wanted in (("fourier", ("alpha", "n")), ("lora", ("rank",))):
        given = [group.method for group in found if group.method["kind"] == kind]
        for name in wanted if given else ():
            values = sorted({method[name] for method in given})
            each.append(f"{names[name]} {' or '.join(f'{value:g}' for value in values)}")
    if not each:
        return ""
    return f" {listed(each)} {'were' if len(each) > 1 else 'was'} fixed beforehand."


def _grids(found: Sequence[Group]) -> str:
    """How far apart the rates lie that were tried, and how far they reach."""
    said, spans = [], set()
    for kind in _KINDS:
        group = next((each for each in found if each.method["kind"] == kind and each.tried), None)
        if group is None:
            continue
        rates = [run.trial["rate"] for run in group.tried]
        steps = sorted({f"{b / a:.2g}" for a, b in itertools.pairwise(rates)}, key=float)
        apart = f", each {' or '.join(steps)} times the one before" if steps else ""
        span = f"{rates[-1] / rates[0]:.2g}"
        spans.add(span)
        name = "the head alone" if kind == "head" else group.short
        said.append(f"{name} {', '.join(f'{rate:g}' for rate in rates)}{apart}, {span} in all")
    text = f"Rates tried: {'; '.join(said)}."
    if len(spans) > 1:
        text += (
            " The grids are not equally fine: a finer one comes nearer to the best rate within it, "
            "a wider one is less likely to miss it."
        )
    return text


def _heads(found: Sequence[Group]) -> list[str]:
    others = [group for group in found if group.method["kind"] != "head"]
    if not others:
        return []
    rates = {
        called(task): {
            f"{run.trial['head_rate']:g}"
            for group in others
            if group.task == task
            for run in (*group.tried, *group.runs)
        }
        for task in _tasks(others)
    }
    each = listed([f"{_or(each)} on {name}" for name, each in rates.items()])
    if len({_or(each) for each in rates.values()}) == 1:
        each = _or(next(iter(rates.values()))) + (" on every task" if len(rates) > 1 else "")
    text = f"The head's rate beside every other method is fixed beforehand: {each}."
    if of_kind(found, "head") is None:
        return [text]
    return [f"{text} The head alone tunes its own rate, among those above, which favours it."]


def _model(found: Sequence[Group]) -> list[str]:
    trial = found[0].runs[0].trial
    layers = trial["trained_layers"]
    which = f"the last {layers} layers alone" if layers else "all layers"
    below = (
        " What lies below is frozen for every method and computed once, without dropout; a pooler "
        "above them is frozen for every method, too."
        if layers
        else " Embeddings and a pooler are frozen, but for full fine-tuning."
    )
    name = _SENTENCE_ENCODERS.get(trial["model"], trial["model"])
    text = (
        f"Model: {name}. Query and value of {which} are adapted.{below} Every method trains the "
        "same new head."
    )
    similar = (
        "The encoder is a sentence-similarity model, strong on STS-B before any training; so the "
        "untuned cosine stands in the tables of MRPC and STS-B; of MRPC it tells classes by the "
        "threshold that is best on the choosing split."
    )
    return [text, similar] if trial["model"] in _SENTENCE_ENCODERS else [text]


def _method(kind: str, name: str, settings: Sequence[Json]) -> str:
    if kind == "fourier":
        alphas = _or({f"{each['alpha']:g}" for each in settings})
        return (
            f"{name}: alpha {alphas}; coefficients start at zero; each seed draws its "
            "entries anew, one list for all targets of a shape."
        )
    if kind == "lora":
        alpha, dropout = (_or({f"{each[k]:g}" for each in settings}) for k in ("alpha", "dropout"))
        return f"{name}: alpha {alpha}, dropout {dropout}; it starts at a delta of zero, too."
    layers = settings[0]["layers"]
    what = (
        f"every weight and bias of the last {layers} layers, neither embeddings nor pooler"
        if layers
        else "every weight and bias of the model, embeddings and pooler too"
    )
    return f"{name[:1].upper()}{name[1:]}: trains {what}."


def _training(found: Sequence[Group]) -> list[str]:
    trials = [run.trial for group in found for run in group.runs]
    epochs = {name: {t["epochs"] for t in trials if t["task"] == name} for name in _tasks(found)}
    rows = {t["task"]: t["rows"] for t in trials if t["rows"] is not None}
    each = listed([f"{_or(counts)} for {called(name)}" for name, counts in epochs.items()])
    some = listed(
        [f"{count:,} rows of {called(name)}'s train, drawn once" for name, count in rows.items()]
    )
    text = (
        f"Epochs: {each}; batches of {_or({t['batch'] for t in trials})} rows of like length, at "
        f"most {_or({t['length'] for t in trials})} tokens{'; ' if some else ''}{some}. AdamW, no "
        f"weight decay, a linear rise over {100 * WARM_UP:g} % of the steps and a linear fall. "
        f"Dropout of attention is {ATTENTION_DROPOUT:g} for every method, all other dropout the "
        "encoder's own."
    )
    return [text, *products(trials)]


def products(trials: Sequence[Json]) -> list[str]:
    """Returns what is to be said of the precision of trials that were trained."""
    if not any(trial["precision"] == "bfloat16" for trial in trials):
        return []
    return [
        (
            "Products are in bfloat16 under autocast while training; parameters, evaluation and "
            "everything that is reported are in float32."
        )
    ]


def _or(values: set[object] | set[str] | set[int]) -> str:
    return " or ".join(sorted(str(value) for value in values))
