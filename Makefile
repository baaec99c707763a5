# `make figures` trains and draws, `make test` runs the tests; both create .venv first. `make help` lists the rest.

# Any Python 3.11: make PYTHON=/path/to/python3.11
PYTHON ?= $(shell command -v python3.11 || echo python3)
# Requirements for the figures: runtime, or cuda for an NVIDIA GPU (make figures LOCK=cuda).
LOCK ?= runtime
CORES ?= 8
# A study instead of config.yaml: make figures STUDY=workflow/studies/paper.yaml
STUDY ?=

# The rules call `python`; let that be .venv's, activated or not.
export PATH := $(CURDIR)/.venv/bin:$(PATH)

# Snakemake and pip need a home folder, which `docker run -u 12345` does not have.
export HOME := $(shell test -w "$$HOME" && echo "$$HOME" || echo "$(CURDIR)/.cache")

quoted = '$(subst ','\'',$(1))'
study = $(if $(STUDY),--configfile $(call quoted,$(STUDY)))

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help figures report torch test lint format lock readme clean

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

# A study with a PyTorch run needs PyTorch.
figures: .venv/.$(LOCK)  ## run the study in config.yaml, from data to results/figures
	@backends=$$(.venv/bin/python -m pipeline.cli.settings --backends $(call quoted,$(or $(STUDY),config.yaml))) || exit; \
	case " $$backends " in *" torch "*) $(MAKE_COMMAND) .venv/.torch;; esac
	.venv/bin/snakemake $(study) --cores $(CORES) results/figures

report: figures  ## write results/report.html: figures, rule graph, commands and run times in one file
	.venv/bin/snakemake $(study) --report results/report.html

torch: .venv/.$(LOCK) .venv/.torch  ## add PyTorch to .venv, for runs with `backend: torch`

# Two halves in parallel: one computes, the other mostly starts jobs; its output is printed at the end.
jobs = tests/workflow tests/slurm tests/unit/figures
test: .venv/.dev .venv/.torch  ## run all tests
	@mkdir -p .pytest_cache
	@.venv/bin/pytest $(jobs) >.pytest_cache/jobs.txt 2>&1 & \
	.venv/bin/pytest $(addprefix --ignore=,$(jobs)); status=$$?; \
	wait $$! || status=1; cat .pytest_cache/jobs.txt; exit $$status

lint: .venv/.dev .venv/.torch  ## check style, types, layers and rules; change nothing
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/snakefmt --check Snakefile workflow/rules
	.venv/bin/snakemake --lint
	.venv/bin/mypy
	.venv/bin/lint-imports

format: .venv/.dev  ## format code and rules
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .
	.venv/bin/snakefmt Snakefile workflow/rules

lock: .venv/.dev  ## update requirements/ and envs/ to the newest versions that pyproject.toml allows
	.venv/bin/python requirements/lock.py --upgrade

readme: .venv/.dev  ## update the table in docs/settings.md and the schema for editors from pipeline/study
	.venv/bin/python -m pipeline.cli.settings --readme docs/settings.md --schema workflow/schemas/config.schema.yaml

clean:  ## delete .venv, keep results
	rm -rf .venv

# Updated only when a lock or the package's metadata changes.
.venv/.%: requirements/%.txt pyproject.toml requirements/venv.sh
	@requirements/venv.sh $(PYTHON) $*
	@touch $@
