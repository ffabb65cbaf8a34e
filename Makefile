# What a newcomer types: `make demo`, `make test`. Each target makes .venv and installs what it needs, with pip.
#
#   make demo ARGS="--once --json"       the whole job on this machine
#   make test                            every test; the device's side on each Python of 3.10 to 3.13 at hand
#   make check                           ruff and mypy --strict
#   make bench NAME=footprint            a benchmark; its last line is one JSON object
#   make test TESTS=tests/trust          some of them; options of pytest too
#   make test-device                     the device's side alone, on each Python
#   make crash                           the whole-job crash test, with its figures
#   make attacks                         the attacks of docs/security.md against the real product, one line each
#
#   make retained                        10,000 states that the broker retains, read back after a restart of it and the server
#   make restarts                        server and broker cut in each phase of a rollout: the table
#   make deb ARGS="--arch arm64"         the Debian packages of the device's side, for Debian 12 or 13 (--suite)
#   make device-lab                      those packages on a device in a container with a real systemd, with a server and a broker
#                                        outside of it (needs root; ARGS="--suite trixie")
#
#   make arm-lab                         the arm64 packages on emulated Cortex-A53, A72, A76 and A78AE: answers, choices, sensors
#   make arm-lab-compress ARGS="DIR ..." every variant of these packages there: the scorer's rows, instructions counted
#
#   make onnx-road                       the ONNX-only road on real models that packages carry (an environment of its own)
#   make loads ARGS="DIR ..."            every variant of these packages on onnxruntime 1.19.2, 1.23.2 and the newest
#
#   PYTHON=python3.12                    another interpreter (3.11 or newer)
#   TORCH_INDEX=URL                      take torch from this index, for example PyTorch's own index of CPU builds:
#                                        from the default index, pip brings gigabytes of CUDA on Linux
#   ARGS, TESTS                          passed on to the demo, to pytest

PYTHON ?= $(shell scripts/python 3.11)
TORCH_INDEX ?=
VENV ?= .venv
ARGS ?=
TESTS ?=
PIP_FLAGS = --disable-pip-version-check --quiet
BIN = $(VENV)/bin

.PHONY: help demo test test-device check bench crash attacks retained restarts onnx-road loads deb device-lab arm-lab arm-lab-compress clean

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

demo: $(VENV)/ready
	@$(BIN)/edgefleet demo $(ARGS)

test: $(VENV)/ready
	@$(if $(TESTS),scripts/test $(BIN)/python $(TESTS),scripts/test-all $(BIN)/python)

test-device:
	@scripts/test-device

check: $(VENV)/ready
	@scripts/check $(BIN)

bench: $(VENV)/ready
	@test -n "$(NAME)" || { echo "make bench NAME=x, where x is one of: $$(cd benchmarks && ls *.py | sed 's/\.py//' | grep -v '^_' | xargs)" >&2; exit 2; }
	@$(BIN)/python -m benchmarks.$(NAME) $(ARGS)

crash: $(VENV)/ready
	@$(BIN)/python -m pytest tests/agent/test_crash.py -s -m "crash or not crash"

attacks: $(VENV)/ready
	@PATH="$$PATH:/usr/sbin" $(BIN)/python -m tests.attacks $(ARGS)

retained: $(VENV)/ready
	@PATH="$$PATH:/usr/sbin" $(BIN)/python -m edgefleet_sim.retained $(ARGS)

restarts: $(VENV)/ready
	@PATH="$$PATH:/usr/sbin" $(BIN)/python -m edgefleet_sim.restarts $(ARGS)

onnx-road: $(VENV)/ready
	@scripts/onnx-road $(BIN)/python $(ARGS)

loads: $(VENV)/ready
	@test -n "$(ARGS)" || { echo 'make loads ARGS="DIR ...", where each DIR is a package' >&2; exit 2; }
	@scripts/loads $(BIN)/python $(ARGS)

deb: $(VENV)/ready
	@$(BIN)/python scripts/build-deb $(ARGS)

device-lab: $(VENV)/ready
	@PATH="$$PATH:/usr/sbin" $(BIN)/python -m tests.lab $(ARGS)

arm-lab: $(VENV)/ready
	@PATH="$$PATH:/usr/sbin" $(BIN)/python -m benchmarks.arm.device $(ARGS)

arm-lab-compress: $(VENV)/ready
	@$(BIN)/python -m benchmarks.arm.compress $(ARGS)

clean:
	rm -rf .venv .venv-3.*

# Installed again when what it is made from changes.
$(VENV)/ready: requirements-dev.txt constraints.txt $(wildcard */pyproject.toml)
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer was found. Name one: make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "Installing into $(VENV) (some minutes the first time) …" >&2
	@$(PYTHON) -m venv $(VENV)
	@$(if $(TORCH_INDEX),$(BIN)/pip install $(PIP_FLAGS) --index-url $(TORCH_INDEX) torch -c constraints.txt)
	@$(BIN)/pip install $(PIP_FLAGS) -c constraints.txt -r requirements-dev.txt
	@touch $@
