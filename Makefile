# `make report` and `make test` need nothing but Python 3.11 and make: .venv is created from the pins on first use.

SHELL := /bin/bash
VENV := .venv
READY := $(VENV)/.installed
RUN := $(VENV)/bin
PYTHON ?= $(shell for p in python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
PIP := $(RUN)/python -m pip --disable-pip-version-check
DIR ?= reports/student

.DEFAULT_GOAL := help
.PHONY: help report site test store lab bench student lint clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-9s%s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

report: $(READY)  ## build every notebook on the smoke profile into reports/smoke/, with index.html
	@$(RUN)/lungnb report --profile smoke

site: $(READY)  ## build the book as a site into reports/site/, from the stored notebooks and what reports/ holds
	@$(RUN)/lungnb site

test: $(READY)  ## run the unit tests, then the stored notebooks with nbval
	@$(RUN)/python -m pytest
	@if compgen -G 'notebooks/*.ipynb' >/dev/null; then \
		LUNGNB_REPORTS='$(CURDIR)/.pytest_cache/reports' $(RUN)/python -m pytest \
			--nbval-lax --nbval-current-env --nbval-sanitize-with tests/nbval.cfg notebooks; \
	else echo 'No stored notebooks yet: nothing for nbval.'; fi

store: $(READY)  ## execute the notebooks and keep them, with outputs, beside their sources
	@$(RUN)/lungnb store

lab: $(READY)  ## open the notebooks in JupyterLab
	@$(RUN)/jupyter lab notebooks

bench: $(READY)  ## measure speed and memory, printed as ratios
	@set -e; shopt -s nullglob; for file in benchmarks/bench_*.py; do echo "$$file"; $(RUN)/python "$$file"; done

student: $(READY)  ## write the notebooks without solutions into reports/student (or DIR=...)
	@$(RUN)/lungnb student '$(DIR)'

lint: $(READY)  ## check style with ruff
	@$(RUN)/ruff check && $(RUN)/ruff format --check

clean:  ## remove built reports and caches; .venv and reports/recorded stay
	@[ ! -d reports ] || find reports -mindepth 1 -maxdepth 1 ! -name recorded -exec rm -rf {} +
	@rm -rf .pytest_cache .ruff_cache .hypothesis
	@find . -path ./$(VENV) -prune -o -name __pycache__ -prune -exec rm -rf {} +

$(READY): environment.yml pyproject.toml
	@[ -n '$(PYTHON)' ] || { echo 'Python 3.11 or newer is needed; install it or name it with PYTHON=...' >&2; exit 1; }
	@'$(PYTHON)' -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo 'Python has no venv module; on Debian: apt-get install python3-venv' >&2; exit 1; }
	@echo 'Installing the pins of environment.yml into $(VENV); the first time takes some minutes.'
	@'$(PYTHON)' -m venv $(VENV)
	@awk '/^ *- [A-Za-z0-9._-]+==/ { print $$2 }' environment.yml > $(VENV)/pins.txt
	@$(PIP) install -q -r $(VENV)/pins.txt
	@$(PIP) install -q --no-deps --no-build-isolation -e .
	@touch $@
