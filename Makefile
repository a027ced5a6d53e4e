# Two commands: `make demo` and `make test`. Both set up .venv first; a second call reinstalls nothing.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
INSTALLED_BENCH := .venv/.installed-bench

# Read by pip, and by the pip that it starts to build the package.
export PIP_CONSTRAINT := constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test slow check format docs bench bench-diagnose clean

help:
	@echo "make demo    train a small model, look at it on the way, leave a page (minutes)"
	@echo "make test    the test suite"
	@echo "make slow    the tests that take long"
	@echo "make check   lint, format, types, import contracts, architecture"
	@echo "make format  mend what lint and format can mend"
	@echo "make docs    the tables of docs/recipes.md from the models"
	@echo "make bench   speed, side by side with peers; writes docs/benchmarks.md"
	@echo "make bench-diagnose  what diagnosis finds in real and in planted faults, beside peers; writes docs/benchmarks.md"
	@echo "make clean   remove .venv and caches"

demo: $(INSTALLED)
	$(BIN)/ontogeny demo

# One thread per worker: two workers share two cores, and results do not depend on the thread count.
test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

slow: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow -n 2 --dist worksteal

check: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest tests/architecture --ignore=tests/architecture/planted

format: $(INSTALLED)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(INSTALLED)
	$(BIN)/python docs/write_recipe_keys.py
	$(BIN)/python docs/write_findings_index.py
	$(BIN)/python docs/write_audit_checks.py

bench: $(INSTALLED_BENCH)
	$(BIN)/python -m benchmarks

bench-diagnose: $(INSTALLED_BENCH)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks diagnose_speed planted_faults foreign_logs

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "needs Python 3.11 or later, $(PYTHON) is older: say which with  make PYTHON=python3.12 ..."; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -e '.[train,dev]'
	@touch $@

$(INSTALLED_BENCH): $(INSTALLED)
	$(BIN)/python -m pip install -q -e '.[train,dev,bench]'
	$(BIN)/python -m pip install -q --no-deps torcheck==1.0.1 # asks for torch < 2, and works with later ones
	@touch $@
