# `make` lists the recipes. Python 3.11 or newer is all that must be there; `make PY=python3.12 demo` names another one.

PY ?= python3
UV ?= uv
BIN := .venv/bin
DEMO := out/demo
DOCS := out/docs
EXPORT = $(UV) export --quiet --frozen --format requirements-txt --no-emit-project --no-header --no-default-groups

.PHONY: help setup demo serve check fix test docs bench lock clean

help:  ## list the recipes
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' Makefile

setup:  ## make .venv with all that developing needs
	@$(PY) dev/setup.py --dev

demo:  ## grade the example cohort and write a report
	@$(PY) dev/setup.py
	$(BIN)/aftercar import examples/cohort --map examples/cohort/mapping.toml --to $(DEMO)/timeline
	$(BIN)/aftercar grade $(DEMO)/timeline --out $(DEMO)/grades
	$(BIN)/aftercar report $(DEMO)/grades
	@echo "Open the report in a browser: $(DEMO)/grades/report.html"

serve:  ## serve a ward of made-up patients to the browser, on this machine alone
	@$(PY) dev/setup.py --ward
	$(BIN)/aftercar serve

check:  ## format, lint, types, evidence, rules of management, locks and what is known against them; only reads
	@$(PY) dev/setup.py --dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright
	$(BIN)/aftercar evidence check
	$(BIN)/aftercar rules --lint
	@if grep -n '://' requirements*.lock; then echo "A lock holds an address: see 'make lock'."; exit 1; fi
	@$(BIN)/python dev/audit.py

fix:  ## format, mend what the linter can, print docs/scales.md
	@$(PY) dev/setup.py --dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/aftercar scales all --markdown > docs/scales.md

test:  ## all tests on all processors; ARGS="tests/test_house.py -x" picks
	@$(PY) dev/setup.py --dev
	$(BIN)/python -m pytest -m "" -n auto --dist loadfile --no-loadscope-reorder $(ARGS)

docs:  ## build the documentation site into out/docs; a warning is an error
	@$(PY) dev/setup.py --dev
	$(BIN)/python -m sphinx -q -W --keep-going -d out/docs-read docs $(DOCS)
	@echo "Open it in a browser: $(DOCS)/index.html"

bench:  ## measure against other ways to do the same
	@$(PY) dev/setup.py --bench
	$(BIN)/python -m benchmarks.run
	$(BIN)/python -m benchmarks.engines
	$(BIN)/python -m benchmarks.icaht
	$(BIN)/python -m benchmarks.fhir
	$(BIN)/python -m benchmarks.estimates
	$(BIN)/python -m benchmarks.simulate
	$(BIN)/python -m benchmarks.trial
	$(BIN)/python -m benchmarks.advise
	$(BIN)/python -m benchmarks.ward

lock:  ## take the newest allowed versions into the locks (needs uv)
	@command -v $(UV) >/dev/null || { echo "make lock needs uv: pip install uv"; exit 1; }
	$(UV) lock --upgrade
	$(EXPORT) --group build --output-file requirements.lock
	$(EXPORT) --group build --group dev --group docs --output-file requirements-dev.lock
	$(EXPORT) --group build --group bench --output-file requirements-bench.lock
	$(EXPORT) --group build --extra ward --extra simulate --output-file requirements-ward.lock

clean:  ## remove all that make made
	rm -rf .venv out dist docs/generated .hypothesis .pytest_cache .ruff_cache
	find src tests dev benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
