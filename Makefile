# make book | test | bench | lint: each sets up .venv from requirements.lock when it has to.
PYTHON  ?= $(shell command -v python3.11 || command -v python3)
VENV    ?= .venv
PROFILE ?= laptop
BIN     := $(VENV)/bin
READY   := $(VENV)/.ready

.PHONY: test lint lock
.DELETE_ON_ERROR:

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

test: $(READY)
	$(BIN)/python -m pytest

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check --output-format concise .
	$(BIN)/mypy

# Resolve every dependency anew, in an environment of its own, and pin what came out.
lock:
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet "torch==2.14.1" "torchvision==0.29.1" \
		"jupyter-book==1.0.4.post1" "setuptools>=77" ".[book,test]"
	$(VENV)-lock/bin/python tools/lock.py > requirements.lock.new
	mv requirements.lock.new requirements.lock
