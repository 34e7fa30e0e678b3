# make mnist   train the example network; make test   run the tests
#
# Both do all the set-up on a fresh machine: a virtual environment in .venv, dlgrad in it, and
# a C compiler by pip where the machine has none.  A second run installs nothing.
#
#   make mnist DATA=folder/with/mnist ARGS="--epochs 3"
#   make test ARGS="-k autograd"
#   make test PYTHON=python3.12
#   make bench     the benchmarks, against the libraries of bench/requirements.txt (it installs them)
#   make bench ARGS="--only conv,training --peers torch"
#   make lint      ruff and mypy
#   make clean     everything that was made

PYTHON ?= python3
VENV ?= .venv
DATA ?=
ARGS ?=

RUN = $(VENV)/bin/python
SETUP = $(PYTHON) .ci/environment.py $(VENV)

.PHONY: help environment mnist test bench lint clean

help:
	@sed -n 's/^# \{0,1\}//p' Makefile

environment:
	@$(SETUP)

mnist:
	@$(SETUP)
	$(RUN) examples/mnist_cnn.py $(if $(DATA),--data "$(DATA)") $(ARGS)

test:
	@$(SETUP) "pytest>=7"
	$(RUN) -m pytest $(ARGS)

bench:
	@$(SETUP) -r bench/requirements.txt
	$(RUN) bench/run.py $(ARGS)

lint:
	@$(SETUP) ruff mypy
	$(RUN) -m ruff check .
	$(RUN) -m mypy

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
