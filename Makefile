# One verb, one command; `make` alone prints them from their own comments.
# Starts from python3 >= 3.11, make and git: the first verb makes .venv from the locked, hashed list of packages.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCKS := deploy/locks
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input install --quiet
COMPILE := $(BIN)/uv --no-config pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
	--no-header --no-emit-index-url --no-emit-find-links --no-progress --system-certs --quiet

.DELETE_ON_ERROR:
.PHONY: help demo test check check-deploy bench bench-full chaos look fit lock format clean

help:  ## print these verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/installed  ## watch a whole fleet at work, under a minute; LOG=FILE replays a ServiceNow log first
	@$(BIN)/ticket-worker demo --report build/demo $(if $(LOG),--log '$(LOG)')

test: $(VENV)/installed  ## run the tests; ARGS="-k word" picks some
	@$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/installed  ## lint, format, types, import contracts
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

check-deploy: $(VENV)/installed  ## read deploy/ with the programs it is meant for; ARGS=--strict skips nothing
	@$(BIN)/python -m tests.deploy.check $(ARGS)

bench: $(VENV)/installed  ## measure against the floor, minutes; writes build/bench.json and pictures
	@$(BIN)/python -m tests.benchmarks.bench $(ARGS)

bench-full: $(VENV)/installed  ## the same with ten million tickets on PostgreSQL, and a fleet beside them; an hour, 20 GB of disk
	@$(BIN)/python -m tests.benchmarks.bench --full $(ARGS)

chaos: $(VENV)/installed  ## kill a fleet at random, and count what was lost or doubled; ARGS="--minutes 60 --seed 7"
	@$(BIN)/python -m tests.chaos $(ARGS)

look: $(VENV)/installed  ## take pictures of the reports, and check them with axe-core; needs chromium and node_modules/axe-core
	@$(BIN)/python -m tests.look.look

fit: $(VENV)/installed  ## how well our verdicts agree with a ServiceNow log's own; LOG=FILE names it
	@$(BIN)/python -m tests.benchmarks.made_sla $(if $(LOG),'$(LOG)') $(ARGS)

lock: $(VENV)/installed  ## write deploy/locks anew; UPGRADE=1 takes the newest versions
	$(COMPILE) $(if $(UPGRADE),--upgrade) --all-extras --group dev --output-file $(LOCKS)/dev.txt
	$(COMPILE) --constraint $(LOCKS)/dev.txt --extra tasks --output-file $(LOCKS)/tasks.txt
	$(COMPILE) --constraint $(LOCKS)/dev.txt --extra worker --output-file $(LOCKS)/worker.txt
	$(COMPILE) --constraint $(LOCKS)/dev.txt --extra notify --output-file $(LOCKS)/notify.txt
	$(COMPILE) --constraint $(LOCKS)/dev.txt --extra billing --output-file $(LOCKS)/billing.txt
	$(COMPILE) --constraint $(LOCKS)/dev.txt --extra charts --output-file $(LOCKS)/charts.txt
	$(COMPILE) --constraint $(LOCKS)/dev.txt --extra worker --extra embedded --output-file $(LOCKS)/embedded.txt
	$(COMPILE) --constraint $(LOCKS)/dev.txt --extra worker --extra notify --extra billing --extra charts --extra trace --extra redbeat \
		--output-file $(LOCKS)/image.txt
	$(subst pyproject.toml,--group build,$(COMPILE)) --constraint $(LOCKS)/dev.txt --output-file $(LOCKS)/build.txt
	$(subst pyproject.toml,--group peers,$(COMPILE)) $(if $(UPGRADE),--upgrade) --constraint $(LOCKS)/dev.txt --output-file $(LOCKS)/peers.txt

format: $(VENV)/installed  ## format, and mend what ruff can mend
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

clean:  ## remove .venv and everything that was made
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find engine tasks worker tests -name __pycache__ -prune -exec rm -rf {} +

# A new lock means a new environment, so that nothing unlocked lingers in it.
$(VENV)/locked: $(LOCKS)/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "'$(PYTHON)' is missing or older than Python 3.11; name another: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "making $(VENV) from $<, a minute or less" >&2
	@$(PYTHON) -m venv --clear $(VENV)
	@$(PIP) --require-hashes --requirement $<
	@touch $@

# Without isolation: the build backend is in the lock, nothing else is fetched.
$(VENV)/installed: $(VENV)/locked pyproject.toml
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@
