# make book | pdf | publish | check-reproducible | sweep | results | verify-results | test | test-lowest |
# test-newest | random-models | cluster-test | bench | gpu-check | faults | lint | package | provenance |
# lock: each sets up the environment that it needs. make system: programs that the tests need, where
# apt-get is.
PYTHON  ?= $(shell command -v python3.11 || command -v python3)
VENV    ?= .venv
PROFILE ?= laptop
NAME    ?= gpu
BENCH_RESULTS ?= benchmarks/results
BIN     := $(VENV)/bin
READY   := $(VENV)/.ready
# Threads that wait for work leave their core to other processes, such as the other tests.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: book pdf publish check-reproducible sweep results verify-results test test-lowest test-newest \
	random-models cluster-test bench gpu-check faults lint package provenance lock system
.DELETE_ON_ERROR:

ifeq ($(filter smoke laptop paper,$(PROFILE)),)
$(error unknown PROFILE=$(PROFILE): choose smoke, laptop or paper)
endif

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

# Snakemake does what has changed, and says what. Its own lock would stay after a kill, until
# somebody removed it; this one goes with the process.
ALONE     = $(BIN)/python tools/one_at_a_time.py _build/.lock
# `env`: what waits for the lock is a program.
SNAKEMAKE = env PYTHONPATH="tools/plugins$${PYTHONPATH:+:$$PYTHONPATH}" \
	$(BIN)/snakemake --nolock --rerun-incomplete --cores all \
	--logger progress --quiet host reason rules progress --config profile=$(PROFILE)

# Each profile keeps its pages in _build/book.
book: $(READY)
	@$(ALONE) sh -c '$(SNAKEMAKE) && rm -rf _build/html \
		&& cp -R _build/book/$(PROFILE)/_build/html _build/html' \
		|| { echo "make book: failed; the first line with 'error' above says why" >&2; exit 1; }
	@echo "The book ($(PROFILE) profile): $(CURDIR)/_build/html/index.html"

# Asked first: without LaTeX, the chapters would be executed in vain.
pdf: $(READY)
	@$(BIN)/python tools/build_pdf.py --check
	@$(ALONE) $(SNAKEMAKE) -- pdf \
		|| { echo "make pdf: failed; the first line with 'error' above says why" >&2; exit 1; }
	@echo "The book ($(PROFILE) profile): $(CURDIR)/_build/pdf/$(PROFILE)/book.pdf"

# The built book beside its other versions, on the origin's branch `pages`.
publish:
	$(PYTHON) tools/versions.py --push

# Execute every chapter once more, with results of its own, and compare the pages.
check-reproducible: book
	@rm -rf _build/again
	@SREL_RESULTS=$(CURDIR)/_build/again/results $(ALONE) $(SNAKEMAKE) build=_build/again
	@$(BIN)/python tools/compare_books.py _build/book/$(PROFILE)/_build/html \
		_build/again/book/$(PROFILE)/_build/html
	@echo "The book ($(PROFILE) profile) is the same when made again, but for times, dates and commits."

# Every result is written at once under a name of its own, so no lock is needed: a sweep that was
# killed starts again as it is, and the book can be built meanwhile. On one GPU, one job at a time.
sweep: $(READY)
	@$(BIN)/snakemake sweep --cores all --nolock --rerun-incomplete --keep-going \
		$(if $(shell command -v nvidia-smi || command -v rocm-smi || true),--resources gpu=1) --quiet host reason \
		--config profile=$(PROFILE)

# A worker a core, each with whole files of tests, those of the pages first.
test: $(READY)
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder

# Two thousand models drawn from a grammar, against steps by hand; the suite takes a hundred.
random-models: $(READY)
	SREL_RANDOM_MODELS=2000 $(BIN)/python -m pytest --numprocesses auto tests/engine/test_any_model.py

# The library with the oldest packages that pyproject.toml admits, or with the newest, in an
# environment of its own: make test-newest PYTHON=python3.13. Packages that are not of the lock may
# warn of one another, so that warnings are no errors here; the committed picture is matplotlib's of
# the lock. What needs the tools of the book is left out.
test-lowest: RESOLUTION := lowest-direct
test-newest: RESOLUTION := highest
test-lowest test-newest:
	$(PYTHON) -m venv --clear $(VENV)-$@
	$(VENV)-$@/bin/python -m pip install --quiet uv
	$(VENV)-$@/bin/uv pip install --quiet --python $(VENV)-$@/bin/python \
		--resolution $(RESOLUTION) --editable ".[experiments]"
	$(VENV)-$@/bin/uv pip install --quiet --python $(VENV)-$@/bin/python axe-playwright-python \
		beautifulsoup4 hypothesis pytest pytest-randomly pytest-xdist
	$(VENV)-$@/bin/python -m pytest -W default --numprocesses auto --maxprocesses 8 --dist loadfile \
		tests/test_*.py tests/engine tests/statistics tests/flows tests/experiments tests/book \
		--ignore tests/experiments/test_sweep.py --ignore tests/book/test_markup.py \
		--ignore tests/book/test_sources.py -k "not readme_and_the_map and not from_the_sweep"

# The sweep on a SLURM cluster that is started on this machine (Debian, root) and stopped again.
cluster-test: $(READY)
	$(BIN)/python -m pytest tests/on_slurm.py

# Each benchmark compares two ways of doing the same work, in one run on an otherwise idle machine.
# To leave the results that are there: make bench BENCH_RESULTS=benchmarks/results/NAME.
bench: $(READY)
	for script in $(filter-out %/faults.py %/gpu_check.py %/killed_book.py,$(wildcard benchmarks/[a-z]*.py)); do \
		$(BIN)/python $$script --write-to $(BENCH_RESULTS) || exit 1; done

# On a machine with a GPU: what is right and how fast, in under 8 minutes; run again it goes on.
# NAME is the folder of benchmarks/results that the figures go to.
gpu-check: $(READY)
	$(BIN)/python benchmarks/gpu_check.py --write-to benchmarks/results/$(NAME)

# What becomes of damaged files, of kills, and on a machine that refuses; up to 20 minutes.
faults: $(READY)
	$(BIN)/python benchmarks/faults.py --write-to $(BENCH_RESULTS)

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check --output-format concise .
	$(BIN)/mypy
	$(BIN)/mypy tools
	$(BIN)/lint-imports --no-cache
	$(BIN)/python tools/pairs.py check

# A wheel and a source distribution in dist/, as a package index takes them, and the wheel tried in an
# empty environment: without and with extras, outside this folder.
package: $(READY)
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/python -m twine check --strict dist/*
	$(PYTHON) -m venv --clear $(VENV)-package
	PACKAGE_PYTHON=$(abspath $(VENV)-package)/bin/python \
		$(BIN)/python -m pytest -p no:randomly tests/on_package.py

# From the kept runs of the paper profile (`srel run --profile paper --dataset NAME`), and from
# the regression experiments, which take minutes.
results: $(READY)
	$(BIN)/srel regression
	$(BIN)/srel summarise --profile paper

# The committed results in a folder that says where they come from, for an archive.
provenance: $(READY)
	$(BIN)/python tools/results_crate.py _build/ro-crate

# Recompute a part of each committed result with the present code; stamp it, or refuse.
verify-results: $(READY)
	$(BIN)/srel verify

# Bring the pinned packages and their hashes in line with pyproject.toml, for every platform. Versions
# that still do stay; newer ones: make lock UPGRADE=--upgrade, or UPGRADE="--upgrade-package numpy".
lock:
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet uv
	$(VENV)-lock/bin/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 \
		--generate-hashes --no-annotate --custom-compile-command "make lock" --quiet $(UPGRADE) \
		--output-file requirements.lock

# Programs for the tests of the pages and of the PDF, where they are missing, on Debian and its like, as
# root. On other systems `make test` leaves out the tests of what is not there.
APT   := apt-get update --quiet && apt-get install --quiet --yes --no-install-recommends
LATEX := latexmk texlive-xetex texlive-latex-extra texlive-fonts-recommended fonts-freefont-otf
system:
	command -v chromium >/dev/null || { $(APT) chromium; }
	command -v latexmk >/dev/null || { $(APT) $(LATEX); }
	command -v c++ >/dev/null || { $(APT) g++; }
