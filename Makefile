# Two commands on a fresh machine with Python 3.11: `make search` runs the main job, `make test` passes the tests.
PYTHON ?= python3.11
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: search test check browser clean

search: $(VENV)/run
	$(BIN)/nas search --space kan_vision --trials 20 --epochs 4
	@echo 'nas lies in $(BIN): type . $(BIN)/activate first'

test: $(VENV)/test browser check
	$(BIN)/python -m pytest

check: $(VENV)/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/run: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable .
	touch $@

$(VENV)/test: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[test]'
	touch $(VENV)/run $@

# The pages are tested in Chromium. Without it, and without the right to install it, those tests are skipped.
browser:
	@command -v chromium >/dev/null || [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null || \
		(apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null)

clean:
	rm -rf $(VENV) build dist *.egg-info
