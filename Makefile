PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

export NO_ALBUMENTATIONS_UPDATE := 1

.PHONY: demo test test-slow check bench gpu figures generate clean

# One environment serves every target: the whole tested set of packages, pinned.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(STAMP)
	$(BIN)/segzoo finetune recipes/quickstart.json --device cpu --overwrite

test: $(STAMP)
	$(BIN)/python -m pytest -q -m 'not slow' --numprocesses 2 --dist worksteal

test-slow: $(STAMP)
	$(BIN)/python -m pytest -q -m slow

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_layers.py

# What every model of the zoo costs on this processor, in about ten minutes.
bench: $(STAMP)
	$(BIN)/segzoo bench --device cpu --quick

# All that needs a GPU, within 25 minutes; the same command continues. PLAN='--minutes 9 --camvid FOLDER' adds options.
gpu: $(STAMP)
	$(BIN)/python benchmarks/gpu_plan.py $(PLAN)

# The figures that README and docs quote, but for those that take longer or need a GPU.
figures: $(STAMP)
	$(BIN)/python benchmarks/list_startup.py --out benchmarks/results/list_startup.json
	$(BIN)/python benchmarks/list_with_faulty_plugins.py --out benchmarks/results/list_with_faulty_plugins.json
	$(BIN)/python benchmarks/spin_wait.py --out benchmarks/results/spin_wait.json

# What is generated and committed; tests compare it.
generate: $(STAMP)
	$(BIN)/segzoo recipe schema > docs/schemas/recipe-1.json
	$(BIN)/python tests/tables.py
	$(BIN)/python tests/augmentation_channels.py
	$(BIN)/python tests/models_page.py

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
