# make setup   .venv/bin/agent-s3 and what it needs; installs missing Debian/Ubuntu packages where it may
# make demo    one task, four desktops, one winner (MODEL=... for another than the embedded one)
# make test    everything: linters, types, desktops, browser, local model (TESTS=... for some)
# make check   linters and types alone, seconds
# make fmt     format the code
# make bench   what the pool and the agent achieve on this machine
# make lock    resolve the dependencies anew
# make clean   remove what the build made here; images and models stay (`agent-s3 pool image rm`)

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev demo test check fmt bench lock clean

BIN := .venv/bin
AGENT := $(BIN)/agent-s3
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

help:
	@sed -n 's/^# make/make/p' Makefile

setup:
	@scripts/setup.sh run

setup-dev:
	@scripts/setup.sh dev

demo: setup
	@scripts/demo.sh $(MODEL)

test: setup-dev check
	@scripts/test.sh $(TESTS)

check: setup-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright --warnings

fmt: setup-dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: setup
	$(AGENT) pool image build slim
	$(AGENT) pool bench --provider sandbox --json
	$(AGENT) bench steps --json
	$(AGENT) bench mini --model local -n 4 --json

lock: setup-dev
	scripts/lock.sh

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
