# `make figures` trains and draws, `make test` tests; both make .venv first. `make help` lists the rest.

# Any Python 3.11: make PYTHON=/path/to/python3.11
PYTHON ?= $(shell command -v python3.11 || echo python3)
# Which requirements the figures are made with: runtime, or cuda for an NVIDIA GPU (make figures LOCK=cuda).
LOCK ?= runtime
CORES ?= 8
# Another study than config.yaml: make figures STUDY=workflow/studies/paper.yaml
STUDY ?=

# The rules call `python`: that of .venv, activated or not.
export PATH := $(CURDIR)/.venv/bin:$(PATH)

# Snakemake and pip keep files in the home folder and fail without one, as under `docker run -u 12345`.
export HOME := $(shell test -w "$$HOME" && echo "$$HOME" || echo "$(CURDIR)/.cache")

quoted = '$(subst ','\'',$(1))'
study = $(if $(STUDY),--configfile $(call quoted,$(STUDY)))

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help figures report torch test lint format lock readme clean

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

# PyTorch is installed for a study with a run on it.
figures: .venv/.$(LOCK)  ## from the data to results/figures: the study of config.yaml
	@backends=$$(.venv/bin/python -m pipeline.cli.settings --backends $(call quoted,$(or $(STUDY),config.yaml))) || exit; \
	case " $$backends " in *" torch "*) $(MAKE_COMMAND) .venv/.torch;; esac
	.venv/bin/snakemake $(study) --cores $(CORES) results/figures

report: figures  ## the figures and how they were made, as one file: results/report.html
	.venv/bin/snakemake $(study) --report results/report.html

torch: .venv/.$(LOCK) .venv/.torch  ## add PyTorch to .venv, for runs with `backend: torch`

# In two halves side by side, of which the second is shown when it is done: the one computes, the other mostly starts jobs.
test: .venv/.dev .venv/.torch  ## all tests
	@mkdir -p .pytest_cache
	@.venv/bin/pytest tests/workflow tests/slurm >.pytest_cache/workflow.txt 2>&1 & \
	.venv/bin/pytest --ignore=tests/workflow --ignore=tests/slurm; status=$$?; \
	wait $$! || status=1; cat .pytest_cache/workflow.txt; exit $$status

lint: .venv/.dev .venv/.torch  ## style, types, layers and rules; changes nothing
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/snakefmt --check Snakefile workflow/rules
	.venv/bin/snakemake --lint
	.venv/bin/mypy
	.venv/bin/lint-imports

format: .venv/.dev  ## put code and rules into the one style
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .
	.venv/bin/snakefmt Snakefile workflow/rules

lock: .venv/.dev  ## update requirements/ and envs/ to the newest versions that pyproject.toml admits
	.venv/bin/python requirements/lock.py --upgrade

readme: .venv/.dev  ## write what follows from pipeline/study: the table of settings in README.md, and the schema for editors
	.venv/bin/python -m pipeline.cli.settings --readme README.md --schema workflow/schemas/config.schema.yaml

clean:  ## delete .venv; results stay
	rm -rf .venv

# Made again when a lock or the package's metadata changes, and only then.
.venv/.%: requirements/%.txt pyproject.toml requirements/venv.sh
	@requirements/venv.sh $(PYTHON) $*
	@touch $@
