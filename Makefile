# Two commands matter: `make demo` and `make test`. Both set themselves up; a second run reuses the environment.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PEERS := .venv-peers
STUDIES := .venv-studies
export MPLBACKEND := Agg
export PYTHONWARNINGS := ignore

.PHONY: demo test test-full lint types unit full shapes-page corruptions-page hostile install bench docs clean peers peers-fixture bench-peers studies-install studies-smoke

demo: install
	$(BIN)/monai-robust demo --output_dir demo

# Types beside tests: they take one of the two cores while the tests are collected.
test: install lint
	$(MAKE) -j2 types unit

# What is longer than continuous integration has time for: before a change is called done.
test-full: test full hostile peers docs

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

unit: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder --durations=15

# Every shape of foreign bundle.
full: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder -m full

# docs/shapes.md, written by what those tests see.
shapes-page: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "full or not full" --write-shapes tests/test_shapes.py

# The table of docs/corruptions.md, from the code.
corruptions-page: install
	PYTHONPATH=.:tests $(BIN)/python -m corruptions_page

# Damaged files and kills, ten times as many as make test has; tests/hostile/__init__.py tells more.
hostile: install
	OMP_NUM_THREADS=1 PYTHONPATH=.:tests $(BIN)/python -m hostile --cases 3000 --kills 20

bench: install
	for script in benchmarks/bench_*.py; do $(BIN)/python $$script || exit 1; done

# The site, tutorials run; a warning is an error.
docs: install
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[docs]"
	PYTHONPATH= $(BIN)/python -m sphinx --fail-on-warning --keep-going -q -c docs -d docs/_build/doctrees . docs/_build/html
	PYTHONPATH= $(BIN)/python docs/check_site.py docs/_build/html
	@echo "site: docs/_build/html/index.html"

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[all,dev]"
	touch $@

# Our attacks against those of other libraries, whose old dependencies need an environment of their own.
peers: $(PEERS)/.installed
	OMP_NUM_THREADS=1 $(PEERS)/bin/python -m pytest tests/peers

peers-fixture: $(PEERS)/.installed
	PYTHONPATH=.:tests $(PEERS)/bin/python tests/peers/write_fixture.py

# The time of both, on the public radiographs: make bench-peers DATASET_DIR=/data/covid_cxr3
bench-peers: $(PEERS)/.installed
	@test -n "$(DATASET_DIR)" || { echo "give the radiographs: make bench-peers DATASET_DIR=..."; exit 2; }
	for script in bench_pgd_call bench_curve bench_strong; do \
		$(PEERS)/bin/python -m benchmarks.peers.$$script --dataset_dir "$(DATASET_DIR)" || exit 1; done

$(PEERS)/.installed: pyproject.toml constraints.txt tests/peers/requirements.txt tests/peers/constraints-peers.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		-c tests/peers/constraints-peers.txt -r tests/peers/requirements.txt -e .
	touch $@

# The workflow runner of `monai-robust study`, in an environment of its own (docs/studies.md); Python 3.11 or newer.
studies-install: install $(STUDIES)/.installed

$(STUDIES)/.installed: studies/requirements.txt studies/constraints.txt
	$(PYTHON) -m venv $(STUDIES)
	$(STUDIES)/bin/python -m pip install --quiet --disable-pip-version-check -c studies/constraints.txt -r studies/requirements.txt
	touch $@

# Every study on phantoms, from its command to its page.
studies-smoke: studies-install
	for study in rtda robustaugmix-xray oncology-stability model-complexity amat; do \
		$(BIN)/monai-robust study $$study --preset smoke -j 2 --output_dir studies/output/smoke/$$study || exit 1; done

clean:
	rm -rf $(VENV) $(PEERS) $(STUDIES) studies/output demo test-artifacts
