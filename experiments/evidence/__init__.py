"""Builds docs/evidence.md and its pictures from the committed results and the plans.

    python -m experiments.evidence        # no data sets, no models: experiments/results/*/*.json

experiments/configs say which seeds and methods are planned, so that what is half run is called so.

How a section is written: one module an experiment, `sections/<name>.py`, with one `SECTION`.

    from experiments.evidence.blocks import Aim, Block, Figure, Panel, Points, Section, Table
    from experiments.evidence.evidence import Evidence
    from experiments.evidence.findings import against_zero
    from experiments.evidence.formatting import UNITS, seconds
    from experiments.statistics import mean_interval   # Interval(mean, low, high)

    def _rendered(evidence: Evidence) -> list[Block]:
        found = evidence.of("cost")                      # Records of results/<size>/cost.json
        rows = [[f"n = {r.trial['n']}", seconds(r.result["seconds"])] for r in found]
        picture = Figure(
            f"cost-{evidence.size}",                      # docs/evidence/cost-small.png
            "Seconds of a step against n",                # what one reads who cannot see it
            (Panel("Width 384", "n", "seconds", (Points("FourierFT", x, y, low, high),)),),
        )
        table = Table(("", "time"), rows)
        return ["What was measured, in words.", table, picture, *_aims(evidence)]

    def _aims(evidence: Evidence) -> list[Aim]:          # of what has not run, too: reached=None
        ...

    SECTION = Section("cost", "What it costs", "Time and bytes as n grows?", _rendered, _aims)

`render` is called once for each size that has records of the section's experiment; the builder says
what has not run. Rules:

- What is drawn is data (blocks.Figure): the builder draws it, and a test compares the data.
- A sentence of conclusion is made by a rule from the numbers (findings.py, or an f-string with a
  condition for each outcome), the bad outcome as plainly as the good one. Nothing that could be
  false after another run is written by hand.
- Every aim is an `Aim`: it shows in place and in the table at the top of the page. It is reached
  only if all that is planned has run; `found` says why one cannot be told. `render` ends with
  `aims`, and where nothing has run the page asks for `aims` alone.
- What could not be measured at a size is a sentence, too: "Not run here: ...".
- Numbers are written by formatting.py, so that they look alike everywhere.
"""
