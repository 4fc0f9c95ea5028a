# Each target works on a fresh machine: Linux, Python 3.11 to 3.13, make.
# The first of these that fits makes the environment; where none does, uv finds or fetches one.
PYTHON3 ?= python3 python3.13 python3.12 python3.11
FITS := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
VENV := .venv
PYTHON := $(VENV)/bin/python
UV := $(shell command -v uv || echo $(VENV)/bin/uv)
READY := $(VENV)/.ready
# Where the environment forbids it (images of Docker often do), each process compiles the project again: 0.6 to 1.3 s.
unexport PYTHONDONTWRITEBYTECODE
PEERS_VENV := .venv-peers
PEERS_READY := $(PEERS_VENV)/.ready
OLDEST_RAY := .ray-2.46.0
S3_TESTS := .s3
BROWSER_TESTS := .browser
ARGS ?=

.PHONY: setup setup-bench search test test-all test-docs test-oldest-ray test-s3 test-browser torture docs check format dashboard spaces bench bench-overhead bench-scale bench-decisions bench-search bench-attribution bench-losses bench-horizon bench-data bench-end-to-end bench-forecast bench-packing lock

setup: $(READY)  ## the environment, from requirements.lock, bytecode compiled

setup-bench: $(PEERS_READY)  ## the environment of the peers that bench-search measures

search: $(READY)  ## the main job; ARGS="--trials 8" adds flags
	$(PYTHON) scripts/search.py --space lr_bs.yaml $(ARGS)

test: $(READY)  ## the default tests: no GPU, no network
	$(PYTHON) -m pytest -n 2 --dist loadfile $(ARGS)

# In the order of their names: xdist's own begins files of a single test last, and those are the longest.
test-all: test test-oldest-ray test-s3 test-browser test-docs  ## the slow ones too: most of an hour more
	$(PYTHON) -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "slow and not gpu" \
		--ignore tests/project/test_docs_run.py --ignore tests/report/test_browser.py \
		--ignore tests/ui/test_in_a_browser.py $(ARGS)

# A document's commands wait for Ray as long as they compute, and each document has a folder of its own.
test-docs: $(READY)  ## every shell line of the documents, two documents at a time
	$(PYTHON) -m pytest -n 2 -m slow tests/project/test_docs_run.py

# The environment's own Ray is the newest that is known; what stands on Ray's inside runs on the oldest as well.
test-oldest-ray: $(OLDEST_RAY)  ## searches on the oldest Ray that pyproject.toml allows, with both engines
	PYTHONPATH=$(CURDIR)/$(OLDEST_RAY) $(PYTHON) -m pytest -n 0 -m "slow or not slow" tests/backends/test_internals.py \
		tests/backends/test_any_ray.py

# s3fs needs a python-dateutil before 3, which is not to decide on everybody's: it has a folder of its own.
test-s3: $(S3_TESTS)  ## results in a bucket of a real S3 server on loopback, which is killed and cut off
	PYTHONPATH=$(CURDIR)/$(S3_TESTS) $(PYTHON) -m pytest -n 0 -m slow tests/bucket

# axe-core in a Python package, which no other test needs. Chromium or Chrome is the machine's own.
test-browser: $(BROWSER_TESTS)  ## the pages in headless Chromium, live ones too, and their accessibility by axe-core
	PYTHONPATH=$(CURDIR)/$(BROWSER_TESTS) $(PYTHON) -m pytest -n 0 -m slow -rs tests/report/test_browser.py \
		tests/ui/test_in_a_browser.py

torture: $(READY)  ## searches killed, failed by their disk and damaged, for ten minutes; ARGS="--minutes 30 --seed 7"
	$(PYTHON) tests/support/torture.py $(ARGS)

docs: $(READY)  ## the documents that are made from the code: columns in results/README.md, docs/{data,hyperparameters,cli}.md
	$(PYTHON) -m search.tables.documents
	$(PYTHON) -m tests.support.data_tables
	$(PYTHON) -m tests.support.hparam_tables
	$(PYTHON) -m search.cli.reference

check: $(READY)  ## formatting, lint, types
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy

format: $(READY)
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

dashboard:  ## Prometheus and Grafana on loopback, for searches that run with --dashboard
	@$(firstword $(PYTHON3)) dashboards/serve.py $(ARGS)

spaces: $(READY)  ## a small search of every space, one after the other; ARGS="--only lr_bs,quick"
	$(PYTHON) benchmarks/spaces.py $(ARGS)

bench: bench-overhead  ## the same as bench-overhead

bench-overhead: $(READY)  ## what a trial costs beside its training, against stock Ray Tune
	$(PYTHON) benchmarks/overhead.py $(ARGS)

bench-scale: $(READY)  ## 200, 1,000 and 5,000 trials of nothing: what each costs, and what they leave; ARGS="--where here"
	$(PYTHON) -m benchmarks.scale $(ARGS)

bench-decisions: $(READY)  ## what the driver does for a trial in a search of very many, in virtual time; ARGS="--trials 20000"
	$(PYTHON) -m benchmarks.decisions $(ARGS)

bench-search: $(READY)  ## epochs that a search needs, against its peers; ARGS="--curves FOLDER"
	$(PYTHON) -m benchmarks.search_quality $(ARGS)

bench-losses: $(READY)  ## what diverged and out-of-memory trials cost, against stock Ray Tune; ARGS="--seeds 2"
	$(PYTHON) -m benchmarks.diverged $(ARGS)
	$(PYTHON) -m benchmarks.memory $(ARGS)

bench-attribution: $(READY)  ## how well a trial's energy is known on a shared GPU, simulated
	$(PYTHON) -m benchmarks.attribution $(ARGS)

bench-data: $(READY)  ## photographs from disk to the model, against other loaders; ARGS="--images FOLDER"
	$(PYTHON) -m benchmarks.data $(ARGS)

bench-forecast: $(READY)  ## forecasts of eight searches against what they took
	$(PYTHON) -m benchmarks.forecast $(ARGS)

bench-packing: $(READY)  ## trials packed by memory, against one at a time and a fixed number
	$(PYTHON) -m benchmarks.packing $(ARGS)

bench-end-to-end: $(READY)  ## from data to good hyperparameters, against plain scripts; ARGS="--out searches.jsonl"
	$(PYTHON) -m benchmarks.end_to_end $(ARGS)

bench-horizon: $(READY)  ## how well cheap scores rank under each horizon; 22 min of CPU, resumes if killed
	$(PYTHON) -m benchmarks.horizon --ladder plain $(ARGS)
	$(PYTHON) -m benchmarks.horizon --ladder growing $(ARGS)

# Versions and hashes for every platform and Python, and no registry named. The extra amd stays out.
lock: $(READY)
	$(UV) pip compile --universal --python-version 3.11 --generate-hashes --extra dev --extra onnx --upgrade \
		--no-emit-index-url --no-header --no-annotate --quiet pyproject.toml --output-file requirements.lock

# Compiled bytecode: without it every worker recompiles 18 s of imports. The project itself is the command jouletune,
# by a path alone: the other kind of editable install loads a finder in every process (20 ms).
$(READY): requirements.lock | $(PYTHON)
	test -x $(UV) || $(PYTHON) -m pip install --quiet uv
	UV_COMPILE_BYTECODE=1 $(UV) pip install --quiet --python $(PYTHON) --require-hashes --requirement requirements.lock
	$(UV) pip install --quiet --python $(PYTHON) --no-deps --no-build-isolation --config-setting editable_mode=compat --editable .
	touch $(READY)

$(PYTHON):
	@for python in $(PYTHON3); do \
		if $$python -c '$(FITS)' 2>/dev/null; then \
			test $$python = $(firstword $(PYTHON3)) || echo "making the environment with $$python: $$why"; \
			$$python -m venv $(VENV) && exit 0; \
			rm -rf $(VENV); why="$$why$${why:+, }$$python makes no environment (is python3-venv missing?)"; \
			continue; \
		fi; \
		why="$$why$${why:+, }$$python is $$($$python --version 2>&1 || echo missing)"; \
	done; \
	echo "jouletune needs Python 3.11 to 3.13, and $$why"; \
	if test "$(origin PYTHON3)" = file && test -x "$(UV)"; then \
		echo "making the environment with Python 3.13, which uv finds or fetches"; \
		exec $(UV) venv --quiet --python 3.13 $(VENV); \
	fi; \
	echo "install one of them, or uv, which fetches one; or name one: make PYTHON3=/path/to/python3.12"; \
	exit 1

$(OLDEST_RAY): $(READY)
	$(UV) pip install --quiet --no-deps --python $(PYTHON) --target $(OLDEST_RAY) ray==$(OLDEST_RAY:.ray-%=%)

$(S3_TESTS): $(READY)
	$(UV) pip install --quiet --python $(PYTHON) --target $(S3_TESTS) "s3fs>=2025.3" "moto[s3]>=5.1" flask flask-cors

$(BROWSER_TESTS): $(READY)
	$(UV) pip install --quiet --python $(PYTHON) --no-deps --target $(BROWSER_TESTS) "axe-core-python>=0.1"

$(PEERS_READY): pyproject.toml $(READY)
	$(UV) venv --quiet --clear --python $(PYTHON) $(PEERS_VENV)
	$(UV) pip install --quiet --python $(PEERS_VENV)/bin/python --group bench
	touch $(PEERS_READY)
