# make test: make .venv, install what is pinned, run all tests.
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed

.PHONY: test lint clean

test: $(STAMP)
	$(VENV)/bin/python -m pytest tests

lint: $(STAMP)
	$(VENV)/bin/python -m ruff check --config .ci/ruff.toml .
	$(VENV)/bin/python -m ruff format --config .ci/ruff.toml --check .

# torch comes first: an unpinned one, drawn in by another package, would be several gigabytes.
$(STAMP): setup.py .ci/constraints.txt
	$(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/python -m pip install --quiet --constraint .ci/constraints.txt torch setuptools wheel
	$(VENV)/bin/python -m pip install --quiet --constraint .ci/constraints.txt --no-build-isolation --editable '.[test]' ruff
	touch $(STAMP)

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache
