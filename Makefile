# Everything a person, the workflows and .ci/run do. On Windows: make VENV_BIN=.venv/Scripts PYTHON=python
PYTHON ?= python3
VENV ?= .venv
VENV_BIN ?= $(VENV)/bin
# Tests and demo never ask the model hub: the offline embedder comes with a package.
export HF_HUB_OFFLINE ?= 1
# An environment that happens to be active lends its packages to IPython, and thus to the tests of the notebooks.
unexport VIRTUAL_ENV PYTHONPATH

.PHONY: help demo install dev hooks test torture check lint notebooks notebooks-check docs docs-serve readme wheel-test wheel-test-full clean

help: ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

$(VENV)/pyvenv.cfg:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: setup.py settings.ini | $(VENV)/pyvenv.cfg
	$(VENV_BIN)/python -m pip install -q -e .
	@touch $@

$(VENV)/installed-dev: setup.py settings.ini | $(VENV)/pyvenv.cfg
	$(VENV_BIN)/python -m pip install -q --no-compile -e '.[dev]'
	@touch $@ $(VENV)/installed

install: $(VENV)/installed ## make .venv and install the library

dev: $(VENV)/installed-dev ## the same with everything for development

demo: install ## make the demo collection, index it and search it
	$(VENV_BIN)/image_recommender demo

hooks: dev ## let git clean notebooks, merge them cell by cell, and check a commit before it is made
	$(VENV_BIN)/nbdev_install_hooks
	$(VENV_BIN)/pre-commit install

test: check ## everything that must be green: notebooks, tests, docs, README, wheel
	$(VENV_BIN)/python -m pytest -q
	$(VENV_BIN)/python tools/build_docs.py --check-readme
	$(MAKE) docs
	$(MAKE) wheel-test

torture: dev ## the long version of the tests in tests/trust: kills, faults, odd files, fuzzing (about an hour)
	TORTURE=1 $(VENV_BIN)/python -m pytest -q tests/trust

lint: dev ## ruff and mypy
	$(VENV_BIN)/ruff check image_recommender tools tests benchmarks
	$(VENV_BIN)/mypy

check: lint ## the quick part: code is clean, notebooks are clean, exported and pass
	$(VENV_BIN)/python tools/check_notebooks.py
	$(VENV_BIN)/nbdev_test --n_workers 2

notebooks: dev ## execute all notebooks in place, clean and export them
	$(VENV_BIN)/nbdev_export
	$(VENV_BIN)/python tools/run_notebooks.py
	$(VENV_BIN)/python tools/build_docs.py --readme

notebooks-check: dev ## execute all notebooks, change nothing, and name the outputs that come out otherwise than the stored ones
	$(VENV_BIN)/python tools/run_notebooks.py --check

docs: dev ## build the documentation site into _site
	$(VENV_BIN)/python tools/build_docs.py
	$(VENV_BIN)/mkdocs build --strict -f _mkdocs.yml

docs-serve: docs ## build it and serve it on http://localhost:8000
	$(VENV_BIN)/python -m http.server -d _site --bind 127.0.0.1 8000

readme: dev ## make README.md from nbs/index.ipynb
	$(VENV_BIN)/python tools/build_docs.py --readme

wheel-test: dev ## use the wheel alone, with fastcore 2 and what is installed already
	$(VENV_BIN)/python tools/wheel_test.py

wheel-test-full: dev ## the same with everything installed anew, as a user would
	$(VENV_BIN)/python tools/wheel_test.py --full

clean: ## remove what can be made again
	rm -rf _md _site _mkdocs.yml build dist demo *.egg-info
