# make demo              set up and interpolate a sample clip
# make demo VIDEO=x.mp4  set up and interpolate your own clip
# make test              set up and run the tests
# make lint              set up and run the linters, the type checker and the import contract
# make docs              set up and build the documentation site in site/
# make results           write docs/results.md and the README's tables from results/
# make curve             draw the training curve in docs/ from checkpoints/curve.csv
PYTHON ?= python3
BIN := .venv/bin
VIDEO ?=
# How many processes run the tests: a number, or one for each core.
WORKERS ?= logical

.PHONY: demo test lint docs results curve clean

.venv/.stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt \
		--editable '.[torch,masks,onnx,onnxruntime,evaluation,vmaf,codec,train,dev,docs]'
	touch $@

demo: .venv/.stamp
	@$(BIN)/python examples/demo.py $(if $(VIDEO),"$(VIDEO)")

test: .venv/.stamp
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal

lint: .venv/.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/.stamp
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

results: .venv/.stamp
	$(BIN)/python benchmarks/results_page.py

curve: .venv/.stamp
	$(BIN)/python -m betwixt.cli train curve checkpoints/curve.csv docs/images/curve.png

clean:
	rm -rf .venv demo site
