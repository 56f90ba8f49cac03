# `make report` and `make test` need nothing but Python 3.11.5 or newer and make: .venv is created from the pins on first use.
# In an environment of your own (`conda activate lungnb`, or `make report VENV=FOLDER`) nothing is installed a second time.

SHELL := /bin/bash
VENV := .venv
RUN := $(VENV)/bin
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11, 5))' 2>/dev/null && { echo $$p; break; }; done)
DIR ?= reports/student

# A folder that already can run lungnb is used as it is; only our own .venv is filled, and again when the pins change.
ifeq ($(VENV),.venv)
READY := $(VENV)/.installed
else
READY :=
endif

.DEFAULT_GOAL := help
.PHONY: help report site test fast store lab bench student lint lock clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-9s%s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

report: $(READY)  ## build every notebook on the smoke profile into reports/smoke/
	@$(RUN)/lungnb report --profile smoke

site: $(READY)  ## build the book as a site into reports/site/, from the stored notebooks and what reports/ holds
	@$(RUN)/lungnb site

test: $(READY)  ## run the unit tests, then the stored notebooks with nbval
	@OMP_NUM_THREADS=1 $(RUN)/python -m pytest -n auto --dist loadfile
	@OMP_NUM_THREADS=1 LUNGNB_REPORTS='$(CURDIR)/.pytest_cache/reports' $(RUN)/python -m pytest \
		-n auto --dist loadscope --nbval-lax --nbval-current-env --nbval-sanitize-with tests/nbval.cfg notebooks

fast: $(READY)  ## run the tests that neither train nor need a browser
	@OMP_NUM_THREADS=1 $(RUN)/python -m pytest -n auto --dist loadfile -m 'not train and not browser'

store: $(READY)  ## execute the notebooks and keep them, with outputs, beside their sources
	@$(RUN)/lungnb store

lab: $(READY)  ## open the notebooks in JupyterLab
	@$(RUN)/jupyter lab --config=jupyter_lab_config.py notebooks

bench: $(READY)  ## measure speed and memory, printed as ratios
	@set -e; for file in benchmarks/bench*.py; do echo "$$file"; $(RUN)/python "$$file"; done

student: $(READY)  ## write the notebooks without solutions into reports/student (or DIR=...)
	@$(RUN)/lungnb student '$(DIR)'

lint: $(READY)  ## check style with ruff
	@$(RUN)/ruff check && $(RUN)/ruff format --check

lock:  ## write requirements.lock, hashes for Python 3.11 to 3.13, from the pins of environment.yml; needs uv
	@awk '/^ *- [A-Za-z0-9._-]+==/ { print $$2 }' environment.yml | uv pip compile -q --universal --python-version 3.11.5 \
		--generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate -o requirements.lock -

# What was built on the smoke profile and not touched since comes again in minutes. The rest may be somebody's work or have
# taken hours: longer builds, students' copies, a built notebook that was saved again, files that nobody built.
clean:  ## remove reports/smoke, reports/site and caches; other builds and what you changed or wrote yourself stay
	@for folder in reports/smoke/*/; do \
		if [ -f "$$folder/manifest.json" ] && [ -z "$$(find "$$folder" -type f -newer "$$folder/manifest.json")" ]; then \
			rm -rf "$$folder"; fi; done
	@rm -rf reports/site; rmdir reports/smoke reports 2>/dev/null || true
	@rm -rf .pytest_cache .ruff_cache .hypothesis
	@find . -path ./.venv -prune -o -name __pycache__ -prune -exec rm -rf {} +

.venv/.installed: requirements.lock pyproject.toml
	@[ -n '$(PYTHON)' ] || { echo 'Python 3.11.5 or newer is needed; install it or name it with PYTHON=...' >&2; exit 1; }
	@'$(PYTHON)' -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo 'Python has no venv module; on Debian: apt-get install python3-venv' >&2; exit 1; }
	@echo 'Installing requirements.lock into .venv; the first time takes some minutes, with uv less than one.'
	@'$(PYTHON)' -m venv .venv
	@pip() { .venv/bin/python -m pip --disable-pip-version-check -q "$$@"; }; \
	uv=$$(command -v uv || { pip install uv >/dev/null 2>&1 && echo .venv/bin/uv; }); \
	if ! { [ -n "$$uv" ] && $$uv pip install -q --python .venv/bin/python --require-hashes -r requirements.lock; }; then \
		pip install --require-hashes -r requirements.lock; fi; \
	pip install --no-deps --no-build-isolation -e .
	@touch $@
