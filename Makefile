# make demo              set up and interpolate a sample clip
# make demo VIDEO=x.mp4  set up and interpolate your own clip
# make test              set up and run the tests
# make lint              set up and run the linters, the type checker and the import contract
# make docs              set up and build the documentation site in site/
# make results           write docs/results.md, docs/reference/reproduce.md and the README's tables
# make peers             set up .venv-peers with the programs that benchmarks/peers.py compares with
# make vapoursynth       set up .venv-vapoursynth and run the tests that need VapourSynth
# make curve             draw the training curve in docs/ from checkpoints/curve.csv
PYTHON ?= python3
BIN := .venv/bin
VIDEO ?=
# A Python 3.12 or later, which VapourSynth needs.
NEWER_PYTHON ?= $(firstword $(foreach python,python3.14 python3.13 python3.12 python3 \
	$(wildcard $(HOME)/.pyenv/versions/3.1[2-9].*/bin/python),$(shell $(python) -c 'import sys; sys.exit(sys.version_info < (3, 12))' \
	2>/dev/null && echo $(python))))
# How many processes run the tests: a number, or one for each core.
WORKERS ?= logical

.PHONY: demo test lint docs results curve peers newer-python vapoursynth clean

.venv/.demo: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

.venv/.stamp: .venv/.demo
	$(BIN)/pip install --quiet --constraint constraints.txt \
		--editable '.[torch,masks,onnx,onnxruntime,evaluation,vmaf,codec,train,web,cluster,dev,docs]'
	touch $@

demo: .venv/.demo
	@$(BIN)/python examples/demo.py $(if $(VIDEO),"$(VIDEO)")

# Processes that share the tests would each start a Ray cluster, whose workers need the cores, too.
test: .venv/.stamp
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal --ignore tests/cluster/test_cluster.py
	$(BIN)/python -m pytest tests/cluster/test_cluster.py

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
	$(BIN)/python benchmarks/reproduce_page.py

curve: .venv/.stamp
	$(BIN)/python -m betwixt.cli train curve checkpoints/curve.csv docs/images/curve.png

.venv-peers/.stamp: pyproject.toml
	@test -n "$(NEWER_PYTHON)" || { echo "make peers needs Python 3.12 or later: pass NEWER_PYTHON=/path/to/python3.12"; exit 1; }
	$(NEWER_PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install --quiet --editable . \
		open-svpflow vapoursynth vapoursynth-mlrt-ov vapoursynth-mvtools
	touch $@

peers: .venv-peers/.stamp

.venv-vapoursynth/.stamp: pyproject.toml
	@test -n "$(NEWER_PYTHON)" || { echo "make vapoursynth needs Python 3.12 or later: pass NEWER_PYTHON=/path/to/python3.12"; exit 1; }
	$(NEWER_PYTHON) -m venv .venv-vapoursynth
	.venv-vapoursynth/bin/pip install --quiet --editable . pytest vapoursynth
	touch $@

newer-python:
	@echo $(NEWER_PYTHON)

vapoursynth: .venv-vapoursynth/.stamp
	.venv-vapoursynth/bin/python -m pytest tests/integrations

clean:
	rm -rf .venv .venv-peers .venv-vapoursynth demo site
