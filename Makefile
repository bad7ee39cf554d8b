# Every target sets up its own .venv first: when there is none, and again whenever
# pyproject.toml or constraints.txt is newer than the last successful set-up.

CONFIG  ?= configs/connect_four.toml
MINUTES ?=
ARGS    ?=

BIN   := .venv/bin
STAMP := .venv/.set-up
DOCS_STAMP := .venv/.set-up-docs

# The interpreter of a new .venv: `make PYTHON=/path/to/python train` overrides the search.
PYTHON     ?=
CANDIDATES := python3 python3.13 python3.12 python3.11

.DEFAULT_GOAL := help
.PHONY: help train play test lint docs clean

help:
	@echo 'make train [MINUTES=10]  train connect four, in 30 minutes or as many as are given'
	@echo '    [CONFIG=configs/tic_tac_toe.toml] [ARGS="..."]  something else; ARGS="--help" lists the options'
	@echo 'make play [ARGS="..."]    play against the newest agent, or before the first training the one that is included'
	@echo 'make test [ARGS="..."]   lint, then run the tests (ARGS goes to pytest)'
	@echo 'make lint                ruff, mypy and import-linter'
	@echo 'make docs                build the documentation as a site, docs/_build/index.html'
	@echo 'make clean               remove caches; runs/ and .venv stay'
	@echo 'PYTHON=/path/to/python   the Python (3.11 or newer) that a new .venv is made with'

train: $(STAMP)
	@$(BIN)/python scripts/train.py $(CONFIG) $(if $(MINUTES),--minutes $(MINUTES)) $(ARGS)

play: $(STAMP)
	@$(BIN)/python scripts/play.py $(ARGS)

# Three, also on two cores: many tests wait for other processes.
test: lint
	$(BIN)/python -m pytest --numprocesses 3 --dist loadscope --no-loadscope-reorder $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(DOCS_STAMP)
	$(BIN)/python -m sphinx --builder html --fresh-env --write-all --fail-on-warning --keep-going --quiet docs docs/_build
	@echo 'The site: docs/_build/index.html'

clean:
	rm -rf docs/_build docs/api .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .cache build ./*.egg-info
	find . -path ./.venv -prune -o -name __pycache__ -type d -exec rm -rf {} +

# The stamp goes first and comes back last, so that a set-up that failed half-way is done again.
# A candidate counts only if it runs: version managers leave launchers of versions they do not have.
$(STAMP): pyproject.toml constraints.txt
	@set -eu; rm -f $@; \
	new_enough='import sys; sys.exit(sys.version_info < (3, 11))'; \
	if ! $(BIN)/python -c "$$new_enough" 2>/dev/null; then \
	    python=; \
	    for candidate in $(or $(PYTHON),$(CANDIDATES)); do \
	        if "$$candidate" -c "$$new_enough" 2>/dev/null; then python=$$candidate; break; fi; \
	    done; \
	    if [ -z "$$python" ]; then \
	        echo 'error: no Python 3.11 or newer among: $(or $(PYTHON),$(CANDIDATES));' \
	             'install one, or name it: make PYTHON=/path/to/python' >&2; \
	        exit 1; \
	    fi; \
	    echo "Making .venv with $$("$$python" --version) ..."; \
	    "$$python" -m venv --clear .venv; \
	fi; \
	install='$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt'; \
	echo 'Installing torch into .venv (the largest package; the first time takes minutes) ...'; \
	$$install torch; \
	echo 'Installing the other packages into .venv ...'; \
	$$install -e '.[dev]'; \
	touch $@; \
	echo '.venv is ready.'

$(DOCS_STAMP): $(STAMP)
	@set -eu; rm -f $@; \
	echo 'Installing the packages of the documentation into .venv ...'; \
	$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[docs]'; \
	touch $@
