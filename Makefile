# Every target sets itself up in .venv from a clean clone with Python 3.11+ and make, and again when the lock changes.
PYTHON ?= python3
VENV := .venv/bin/python
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help install train weights sweep dashboard test test-wheel test-wandb test-demo test-faults test-scale test-usual test-notebook test-real lint bench bench-full lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED) ## everything, tools too, in .venv (about 6 GB on Linux, minutes)

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'error: $(PYTHON) must be Python 3.11 or newer, got '"$$($(PYTHON) --version 2>&1)"'; pass another one: make PYTHON=python3.12 ...' >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo 'error: $(PYTHON) has no ensurepip; on Debian and Ubuntu: apt install python3-venv' >&2; exit 2; }
	test -x $(VENV) || $(PYTHON) -m venv .venv
	$(VENV) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(VENV) -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

train: $(INSTALLED) ## train LeNet-5 on MNIST as configs/default.yaml says, then test it
	$(VENV) -m lenet_lightning fit --config configs/default.yaml

weights: $(INSTALLED) ## train weights anew for the package; their sum goes into tests/test_weights.py
	$(VENV) -m lenet_lightning fit --config configs/default.yaml --seed_everything 10
	$(VENV) -m lenet_lightning export --format safetensors --output lenet_lightning/lenet5.safetensors

sweep: $(INSTALLED) ## search with 20 short trials on this machine, offline; prints them, best first
	WANDB_MODE=offline $(VENV) docs/scale/sweep.py 20 --trainer.max_epochs 3

dashboard: $(INSTALLED) ## the newest run on a terminal dashboard, with no account
	$(VENV) -m lenet_lightning dashboard

test: $(INSTALLED) ## the fast tests: no MNIST, no network, no account
	OMP_NUM_THREADS=1 $(VENV) -m pytest -n 2 --dist worksteal $(addprefix --ignore=tests/,faults scale usual)

test-wheel: $(INSTALLED) ## build the wheel, install it outside the checkout, train an epoch from it
	OMP_NUM_THREADS=1 $(VENV) -m pytest -m wheel

test-wandb: $(INSTALLED) ## the real wandb client, offline and against a stand-in of its server; the terminal dashboard
	OMP_NUM_THREADS=1 $(VENV) -m pytest -n 2 -m wandb

test-demo: $(INSTALLED) ## the drawing page in Chromium (Debian's package), and hostile requests to it
	OMP_NUM_THREADS=1 $(VENV) -m pytest -m browser

test-faults: $(INSTALLED) ## every promise under faults, by number
	OMP_NUM_THREADS=1 $(VENV) -m pytest -n 2 -m faults

test-scale: $(INSTALLED) ## other machines than one: Slurm, several, file systems that refuse calls, Ray
	OMP_NUM_THREADS=1 $(VENV) -m pytest -m scale

test-usual: $(INSTALLED) ## what users reach for, at length: Trainer options, W&B, exports, pictures
	OMP_NUM_THREADS=1 $(VENV) -m pytest -n 2 -m usual

test-notebook: $(INSTALLED) ## docs/tutorial.ipynb from top to bottom, its figures within bounds; fits in a kernel
	OMP_NUM_THREADS=1 $(VENV) -m pytest -m notebook

test-real: $(INSTALLED) ## get the real MNIST, check its sums, train 2 epochs on it
	$(VENV) -m pytest -m real -rP --no-header

lint: $(INSTALLED) ## style, format, import contracts and types
	$(VENV) -m ruff check .
	$(VENV) -m ruff format --check .
	.venv/bin/lint-imports --no-logo --no-cache
	$(VENV) -m mypy

bench: $(INSTALLED) ## training speed beside the tutorial's loop and a bare one; fails when over a bound
	$(VENV) -m tests.benchmarks.bench

bench-full: $(INSTALLED) ## every number of README and docs/benchmarks.md, in hours; resumes where it stopped
	$(VENV) -m tests.benchmarks.targets
	$(VENV) -m tests.benchmarks.peers
	$(VENV) -m tests.benchmarks.throughput
	$(VENV) -m tests.benchmarks.growth
	$(VENV) -m tests.benchmarks.startup
	$(VENV) -m tests.benchmarks.inference
	$(VENV) -m tests.benchmarks.processes
	$(VENV) -m tests.benchmarks.seeds configs/tutorial.yaml --seeds 1 2 3 --jobs 2
	$(VENV) -m tests.benchmarks.errors runs/targets/99.6/?/2*/weights.safetensors runs/targets/99.5/[1-5]/2*/weights.safetensors
	$(VENV) -m tests.benchmarks.tables

lock: $(INSTALLED) ## pin the newest versions that pyproject.toml allows
	$(VENV) -m uv pip compile --universal --generate-hashes --no-header --quiet --upgrade --all-extras pyproject.toml -o requirements.lock

clean: ## remove .venv and what was built; runs/ and data/ stay
	rm -rf .venv build dist *.egg-info
