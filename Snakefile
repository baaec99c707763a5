# From data to figures: `snakemake --cores 8 results/figures`. See docs/studies.md, and workflow/rules for the stages.
import os
import sys

from snakemake.utils import min_version

from pipeline.benchmark.contestants import check_frameworks
from pipeline.core.errors import InputError
from pipeline.study import group
from pipeline.study.benchmark import Benchmark
from pipeline.study.study import check_installed, read_study, resolve_study
from pipeline.study.supervision import supervise

min_version("9.27")


# A study given with --configfile replaces the default; merging them would train the default's runs too.
if not workflow.overwrite_configfiles:

    configfile: os.path.join(workflow.basedir, "config.yaml")


try:
    # Snakemake has read them, but would not say that a name is given twice.
    for path in workflow.configfiles:
        read_study(path)
    config = resolve_study(config)
    check_installed(config)
    if config["figures"]["benchmarks"]:
        check_frameworks(group.parse(Benchmark, config["benchmark"]))
except InputError as error:
    # `--configfile study.yaml results/file.json` takes both for studies.
    hint = "; put -- between the study and the targets" if len(workflow.configfiles) > 1 else ""
    sys.exit(f"study: {error}{hint}")

supervise(workflow, config)

# One GPU job at a time, assuming one GPU; a cluster allocates GPUs itself.
if workflow.nodes is None and not workflow.remote_exec:
    workflow.global_resources.setdefault("gpu", 1)


wildcard_constraints:
    data=config["data"]["name"],
    run="|".join(config["runs"]),
    sampler="[a-z0-9][a-z0-9-]*",
    source="qm9pack|figshare",
    calls="[1-9][0-9]*",


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/sample.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/benchmark.smk"
include: "workflow/rules/figures.smk"


rule all:
    default_target: True
    input:
        "results/figures",
