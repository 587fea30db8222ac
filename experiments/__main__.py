"""`python -m experiments NAME [--size small]`: run an experiment; without a name, list them."""

from importlib.util import find_spec

if __name__ == "__main__":
    if find_spec("torch") is None:
        raise SystemExit(
            "experiments need torch, the trainers and more, which this environment has not: run "
            "`make .venv-test/.ready`, then `.venv-test/bin/python -m experiments`"
        )
    from experiments.command import main

    main()
