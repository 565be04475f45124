PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2

.PHONY: demo test lint validate clean

# One stamp per set of extras, remade when the project's dependencies change.
$(VENV)/.%-installed: pyproject.toml constraints.txt
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[$*]'
	touch $@

demo: $(VENV)/.pythia-installed
	$(BIN)/hepcalib run analysis_configs/quickstart.yaml --workers $(WORKERS)

test: $(VENV)/.test-installed
	OMP_NUM_THREADS=1 $(BIN)/pytest -m 'not validation' --numprocesses $(WORKERS) --dist loadgroup

lint: $(VENV)/.dev-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

validate: $(VENV)/.test-installed
	rm -rf out/validation && mkdir -p out/validation
	-HEPCALIB_VALIDATION_FOLDER=out/validation $(BIN)/pytest -m validation \
		--junitxml out/validation/report.xml --override-ini junit_family=xunit1
	$(BIN)/python docs/make_validation.py out/validation/report.xml docs/validation.md
	! grep -q 'errors="[1-9]\|failures="[1-9]' out/validation/report.xml

clean:
	rm -rf $(VENV) out .hepcalib
