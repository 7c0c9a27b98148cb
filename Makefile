# Each target does its own set-up: Python 3.11 or later, git and make are all it takes.

VENV ?= .venv
DIR ?= demo-repo
PYTHON ?= $(firstword $(foreach p,python3.13 python3.12 python3.11 python3 python,$(shell \
	$(p) -c 'import sys; print("$(p)") if sys.version_info >= (3, 11) else None' 2>/dev/null)))
BIN = $(VENV)/bin
READY = $(VENV)/.ready
CORE = cache record rescue rule

.PHONY: help test test-long test-models lint bench demo clean
.DEFAULT_GOAL := help

help:
	@echo "make demo       build a repository, train four versions, bring each one back (DIR=$(DIR))"
	@echo "make test       run the tests"
	@echo "make test-long  run the campaigns that take hours"
	@echo "make test-models  write model files by their libraries anew, and read them"
	@echo "make lint       ruff and mypy"
	@echo "make bench      measure against dvc, git-lfs and git alone"
	@echo "make clean      remove the virtual environment and what was built"

$(READY): pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: Python 3.11 or later is not on PATH" >&2; exit 1; }
	@# half an environment (no ensurepip, Python upgraded since) is made anew, not built upon
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || { \
		echo "error: no virtual environment; on Debian: apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install -qq --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[dev]'
	@touch $@

test: $(READY)
	$(BIN)/python -m pytest -m "not long"

test-long: $(READY)
	$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[dev,long]'
	$(BIN)/python -m pytest -m long --timeout 3600
	$(BIN)/python -m coverage run -m pytest -n 0 $(CORE:%=tests/test_%.py)
	$(BIN)/python -m coverage report
	$(BIN)/python -m tests.mutation

# in a venv of their own: they are large, and the tests need none of them
test-models: $(READY)
	$(PYTHON) -m venv build/models-venv
	build/models-venv/bin/python -m pip install -qq --disable-pip-version-check \
		torch==2.13.0 numpy safetensors onnx gguf h5py keras scikit-learn joblib
	build/models-venv/bin/python -W ignore -m tests.models.write build/model-files
	DEVML_MODEL_FILES="$(CURDIR)/build/model-files" $(BIN)/python -m pytest tests/models/test_real_files.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python benchmarks/run.py
	$(BIN)/python benchmarks/push.py

demo: $(READY)
	$(BIN)/devml-git demo "$(DIR)"

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
