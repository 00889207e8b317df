# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Tests of one file share what takes seconds to make: they stay in one process.
PYTEST := pytest -n auto --maxprocesses 8 --dist loadfile

LOWEST := .venv-lowest
NEWEST := .venv-newest

.PHONY: demo test test-lowest test-newest dist fuzz faults clean

demo: $(READY)  ## a complete avatar of a synthetic person, in ./demo
	$(BIN)/flare demo -o demo

test: $(READY)  ## style, types and the default tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	$(BIN)/$(PYTEST)

test-lowest: $(LOWEST)/.ready  ## the default tests with the lowest versions that pyproject.toml admits (Python 3.10 to 3.12)
	$(LOWEST)/bin/$(PYTEST)

test-newest: $(NEWEST)/.ready  ## the same with the newest versions that there are (Python 3.10 to 3.13)
	$(NEWEST)/bin/$(PYTEST)

dist: $(READY)  ## wheel and sdist in ./dist, installed into a bare environment, where they make an avatar
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/python tools/check_wheel.py dist

fuzz: $(READY)  ## damaged files of every kind that we read, other ones each time (FLARE_FUZZ of each kind); pickles by atheris if it is there
	FLARE_FUZZ=$${FLARE_FUZZ:-400} $(BIN)/pytest tests/fuzz -s
	! $(BIN)/python -c "import atheris" 2>/dev/null || \
		$(BIN)/python tests/fuzz/atheris_pickles.py -max_total_time=$${FLARE_ATHERIS:-600}

faults: $(READY)  ## commands killed, disks full, folders read-only, two runs at once, SIGTERM, no home, NaN (FLARE_KILLS of each command)
	FLARE_KILLS=$${FLARE_KILLS:-10} $(BIN)/pytest -m slow tests/faults

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(READY)

$(LOWEST)/.ready: $(READY) tools/lowest_versions.py
	$(PYTHON) -m venv $(LOWEST)
	$(BIN)/python tools/lowest_versions.py > $(LOWEST)/constraints.txt
	$(LOWEST)/bin/pip install --quiet --disable-pip-version-check -c $(LOWEST)/constraints.txt -e '.[dev]'
	touch $(LOWEST)/.ready

$(NEWEST)/.ready: pyproject.toml
	$(PYTHON) -m venv $(NEWEST)
	$(NEWEST)/bin/pip install --quiet --disable-pip-version-check --upgrade -e '.[dev]'
	touch $(NEWEST)/.ready

clean:  ## remove the environments and what the demo made
	rm -rf $(VENV) $(LOWEST) $(NEWEST) dist demo
