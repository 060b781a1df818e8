# make demo              set everything up and make a sample clip smooth
# make demo VIDEO=x.mp4  the same with your own clip
# make test              set everything up and run the tests
# make results           write docs/results.md and the README's tables from results/
# make curve             draw the training curve in docs/ from checkpoints/curve.csv
PYTHON ?= python3
BIN := .venv/bin
VIDEO ?=

.PHONY: demo test lint results curve clean

.venv/.stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[torch,masks,openvino,evaluation,codec,train,dev]'
	touch $@

demo: .venv/.stamp
	@$(BIN)/python examples/demo.py $(if $(VIDEO),"$(VIDEO)")

test: .venv/.stamp
	$(BIN)/python -m pytest

lint: .venv/.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

results: .venv/.stamp
	$(BIN)/python -m betwixt.evaluation.results

curve: .venv/.stamp
	$(BIN)/python -m betwixt.cli train curve checkpoints/curve.csv docs/images/curve.png

clean:
	rm -rf .venv demo
