# Two commands on a fresh machine with Python 3.11: `make search` runs the main job, `make test` passes the tests.
PYTHON ?= python3.11
VENV ?= .venv
BIN = $(VENV)/bin
# Of tests. A process takes a core and up to 2 GB.
PROCESSES ?= 2

.PHONY: search test check browser server clean

search: $(VENV)/run
	$(BIN)/nas search --space kan_vision --trials 20 --epochs 4
	@echo 'nas lies in $(BIN): type . $(BIN)/activate first'

test: $(VENV)/test browser server check
	$(BIN)/python -m pytest -n $(PROCESSES) --dist loadgroup --max-worker-restart 0

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

# The store is tested on a server of its own. Without one, and without the right to install it, those are skipped.
server:
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || [ "$$(id -u)" != 0 ] || \
		! command -v apt-get >/dev/null || \
		(apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq postgresql >/dev/null)

clean:
	rm -rf $(VENV) build dist *.egg-info
