PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2

.PHONY: demo test test-processors lint validate clean

# One stamp per set of extras, remade when the project's dependencies change.
$(VENV)/.%-installed: pyproject.toml constraints.txt
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[$*]'
	touch $@

demo: $(VENV)/.pythia-installed
	$(BIN)/hepcalib run analysis_configs/quickstart.yaml --workers $(WORKERS)

test: $(VENV)/.test-installed
	OMP_NUM_THREADS=1 $(BIN)/pytest -m 'not validation' --numprocesses $(WORKERS) --dist loadgroup

# What makes torch and its libraries round as on x86 processors with AVX2 only, and with SSE4 only.
PROCESSORS := \
	"ATEN_CPU_CAPABILITY=avx2 MKL_ENABLE_INSTRUCTIONS=AVX2 ONEDNN_MAX_CPU_ISA=AVX2" \
	"ATEN_CPU_CAPABILITY=default MKL_ENABLE_INSTRUCTIONS=SSE4_2 ONEDNN_MAX_CPU_ISA=SSE41" \
	"MKL_CBWR=COMPATIBLE"
TESTS ?= tests

test-processors: $(VENV)/.test-installed
	failed=0; for setting in $(PROCESSORS); do \
		echo "$$setting"; \
		env $$setting OMP_NUM_THREADS=1 $(BIN)/pytest -m 'not validation' --numprocesses $(WORKERS) \
			--dist loadgroup $(TESTS) || failed=1; \
	done; exit $$failed

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
