# make demo, make test, make serve. Environments are made where they are missing and kept in .venv*; packages of the distribution
# that they need are looked for first.
PYTHON ?= python3
# "cpu" takes torch from PyTorch's index of CPU builds (no CUDA, several GB less); empty takes the package index's own.
TORCH ?=
# Where the CPU builds are.
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu
LABEL_STUDIO_VERSION = 1.23.2
# That share the tests, by file; each has a Label Studio of its own. Files in their order: the long ones, of processes and
# browsers, come before the short ones, so that none ends last and alone.
TEST_PROCESSES ?= 2

VENV = .venv
LS_VENV = .venv-label-studio
STAMP = $(VENV)/.made
LS_STAMP = $(LS_VENV)/.made
LS_PROGRAM = $(CURDIR)/$(LS_VENV)/bin/label-studio

.PHONY: help packages env label-studio serve demo screenshots test torture soak load speed bench gpu fuzz lint clean

help:
	@echo "make demo     a real Label Studio with a project that framewise learns and fills in"
	@echo "make screenshots  the documentation's pictures, from a demo and a Chromium"
	@echo "make serve    the backend alone, on port 9090"
	@echo "make test     every test"
	@echo "make torture  200 kills of its processes, and whether anything was lost: about 25 minutes"
	@echo "make soak     an hour of a project that grows, on a bad day: whether anything grows faster than it"
	@echo "make load     20 clients for ten minutes: how fast it answers, and its memory"
	@echo "make speed    from a submit to a new version, and the memory of training on hours of video: about 15 minutes"
	@echo "make bench    how fast features are made here, beside the usual way and the ceilings (ARGS=video.mp4: of your own video)"
	@echo "make gpu      the same on a GPU, after checking that it computes the same features"
	@echo "make fuzz     half an hour of hostile labeling configs and events (MINUTES=5: less)"
	@echo "make env      the environment alone, in $(VENV)  (TORCH=cpu: without CUDA)"

test: NEEDS = browser redis compiler
screenshots: NEEDS = browser

packages:
	@PYTHON='$(PYTHON)' sh tools/packages.sh $(NEEDS)

env: $(STAMP)

$(STAMP): requirements.txt requirements-dev.txt pyproject.toml | packages
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "framewise needs Python 3.11 or later: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(if $(filter cpu,$(TORCH)),$(VENV)/bin/pip install --index-url $(TORCH_CPU_INDEX) $$(grep -E '^torch(vision)?==' requirements.txt))
	$(VENV)/bin/pip install -r requirements.txt -r requirements-dev.txt
	$(VENV)/bin/pip install --no-deps --editable .
	touch $@

label-studio: $(LS_STAMP)

$(LS_STAMP): | packages
	$(PYTHON) -m venv $(LS_VENV)
	$(LS_VENV)/bin/pip install label-studio==$(LABEL_STUDIO_VERSION)
	touch $@

serve: $(STAMP)
	exec $(VENV)/bin/framewise serve

screenshots: $(STAMP) $(LS_STAMP)
	LABEL_STUDIO=$(LS_PROGRAM) $(VENV)/bin/python -m tools.screenshots $(ARGS)

# It makes a Label Studio in the user's cache folder; that of the tests, where it is there, saves a second gigabyte.
demo: $(STAMP)
	exec $(VENV)/bin/framewise demo $(if $(wildcard $(LS_STAMP)),--label-studio $(LS_PROGRAM)) $(if $(DEMO_EXIT),--exit)

test: $(STAMP) $(LS_STAMP) lint
	LABEL_STUDIO=$(LS_PROGRAM) $(VENV)/bin/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder $(ARGS)

torture: $(STAMP)
	$(VENV)/bin/python -m tools.torture $(ARGS)

soak: NEEDS = compiler
soak: $(STAMP)
	$(VENV)/bin/python -m tools.soak $(ARGS)

load: $(STAMP)
	$(VENV)/bin/python -m tools.load $(ARGS)

speed: $(STAMP)
	$(VENV)/bin/python -m tools.training_speed $(ARGS)
	$(VENV)/bin/python -m tools.training_memory
	$(VENV)/bin/python -m tools.lstm_speed
	$(VENV)/bin/python -m tools.prediction_speed

bench: $(STAMP)
	$(VENV)/bin/framewise bench --json bench.json --picture bench.png $(ARGS)
	$(VENV)/bin/python -m tools.verification_speed

gpu: $(STAMP)
	$(VENV)/bin/python -c 'import torch; assert torch.cuda.is_available(), "PyTorch finds no GPU here"'
	$(VENV)/bin/python -m pytest tests/unit/test_gpu.py tests/unit/test_passes.py
	$(VENV)/bin/framewise bench --json bench.json --picture bench.png $(ARGS)

lint: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

fuzz: $(STAMP)
	$(VENV)/bin/pip install atheris==3.0.0
	$(VENV)/bin/python -m tools.fuzz --minutes $(or $(MINUTES),30)

clean:
	rm -rf $(VENV) $(LS_VENV) .fuzz
