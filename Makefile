# Two commands on a fresh machine: `make demo` and `make test`. Both set up what is missing.
PYTHON ?= python3
BIN := .venv/bin
TORCH := $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
# uv treats a missing find-links folder as an error, pip does not
LINKS := $(if $(wildcard $(PIP_FIND_LINKS)/.),$(PIP_FIND_LINKS))
export HF_HUB_OFFLINE := 1
# two processes on two cores; each that is done takes over what the other has not begun
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

.PHONY: setup demo test test-slow test-all check attack bench docs site release soak clean matrix matrix-oldest matrix-newest

setup: .venv/done

.venv/done: pyproject.toml
	@if command -v uv >/dev/null; then \
	  uv venv --quiet --clear .venv && UV_FIND_LINKS="$(LINKS)" uv pip install --quiet --python $(BIN)/python $(TORCH) -e ".[dev]"; \
	else \
	  $(PYTHON) -m venv --clear .venv && $(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH) -e ".[dev]"; \
	fi
	@touch $@

demo: .venv/done
	OMP_NUM_THREADS=1 $(BIN)/python examples/demo/run.py runs/demo
	@echo 'The program is $(BIN)/consort. To call it consort, as the README does:  . $(BIN)/activate'

test: .venv/done
	$(PYTEST)

# the repetitions that `make test` leaves out: further architectures, tokenizers, seeds and sizes
test-slow: .venv/done
	$(PYTEST) -m slow

test-all: .venv/done
	$(PYTEST) -m "slow or not slow"

lint: .venv/done
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check: lint
	$(BIN)/python -m pytest tests/test_layers.py tests/test_exported_names.py tests/docs

# every kind of bad input that is known, given to the real program and server
attack: .venv/done
	$(BIN)/python -m pytest -m 'slow or not slow' -n 2 tests/attack tests/field tests/server/test_robustness.py tests/models/remote $$($(BIN)/python tests/attack/lines.py)

bench: .venv/done
	$(BIN)/python benchmarks/start.py
	$(BIN)/python benchmarks/generate.py
	$(BIN)/python benchmarks/merge.py
	$(BIN)/python benchmarks/decode.py
	$(BIN)/python benchmarks/speculate.py
	$(BIN)/python benchmarks/routing.py
	$(BIN)/python benchmarks/search.py
	$(BIN)/python benchmarks/fuse.py

# architectures at work, merged and stacked: on the installed transformers, the oldest that is allowed, the newest there is
OLDEST := 5.24.0
MATRIX = tests/compatibility -q -p no:cacheprovider -m "slow or not slow"
MATRIX_NEEDS := pytest pytest-xdist hypothesis peft accelerate

matrix: .venv/done
	$(BIN)/python -m pytest $(MATRIX) -n 2

matrix-oldest: build/transformers-$(OLDEST)/done
	build/transformers-$(OLDEST)/bin/python -m pytest $(MATRIX)

matrix-newest: build/transformers-newest/done
	build/transformers-newest/bin/python -m pip install --quiet --disable-pip-version-check --upgrade "transformers<6"
	build/transformers-newest/bin/python -m pytest $(MATRIX)

build/transformers-$(OLDEST)/done: pyproject.toml
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check $(TORCH) -e . $(MATRIX_NEEDS) "transformers==$(OLDEST)"
	@touch $@

build/transformers-newest/done: pyproject.toml
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check $(TORCH) -e . $(MATRIX_NEEDS)
	@touch $@

# wheel, sdist and parts list in dist/, tried in fresh environments
release:
	$(PYTHON) release/check.py

# minutes: every strategy served under mixed load; runs killed at fifty moments
soak: .venv/done
	$(BIN)/python benchmarks/soak.py
	$(BIN)/python benchmarks/kill_anywhere.py

docs: .venv/done
	$(BIN)/python -m docs.build

# the pages of docs/ as a site in build/site, every link and anchor checked
site: .venv/done
	@test -x $(BIN)/zensical || if command -v uv >/dev/null; then \
	  uv pip install --quiet --python $(BIN)/python -e ".[docs]"; \
	else \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[docs]"; \
	fi
	$(BIN)/zensical build --strict

clean:
	rm -rf .venv runs build dist
