# Functions that the rules share.
import json
import math
import subprocess
from types import SimpleNamespace

from pipeline.sampling.level_search import fewer_calls
from pipeline.sampling.parts import LARGEST_BATCH
from pipeline.study.config import run_config, sampler_config
from pipeline.study.costs import memory_megabytes, sampling_minutes, training_minutes
from pipeline.study.own_molecules import own_path, own_version
from pipeline.study.released import released_path, released_training
from pipeline.study.study import run_settings, sampler_settings

# Let jobs find Snakemake's own Python when `.venv/bin/snakemake` runs without an activated environment.
if (folder := os.path.dirname(sys.executable)) not in os.get_exec_path():
    os.environ.update(PATH=os.pathsep.join([folder, *os.get_exec_path()]))

# exec, so that signals reach the job's program and not a shell. On Linux it gets SIGTERM when Snakemake is killed, because an
# orphaned job could overwrite the next one's results.
setpriv = "setpriv --pdeathsig TERM"
has_setpriv = subprocess.run(f"{setpriv} true", shell=True, stderr=subprocess.DEVNULL).returncode == 0
shell.prefix(f"set -euo pipefail; exec {setpriv if has_setpriv else ''} ")


def flags(**settings):
    """Return settings as command-line flags: ``split_seed=0`` gives ``["--split-seed", "0"]``; a list gives several values.

    Snakemake compares a job's params as a set of values without names; in one list, swapped values count as a change.
    """
    words = []
    for name, value in settings.items():
        values = value if isinstance(value, list) else [value]
        words += [f"--{name.replace('_', '-')}", *map(str, values)]
    return words


def data_path(name):
    """Return the path of a file of the study's data set."""
    return f"results/data/{config['data']['name']}/{name}"


def molecule_source(wildcards):
    """Return the input of the stage parse: a download, or the user's file or folder."""
    return own_path(config["data"], workflow.basedir) or f"results/data/raw/{config['data']['source']}"


def molecule_version(wildcards):
    """Return what tells whether the user's molecules have changed; 0 for a download.

    Files in a folder are not inputs: there may be a hundred thousand, with names that Snakemake would take for patterns.
    """
    # A function of the wildcards alone, since Snakemake reruns no job for a changed param that depends on the input.
    path = own_path(config["data"], workflow.basedir)
    return own_version(path) if path else 0


# Most jobs per sampler for sampling and evaluation; profiles set more.
scattergather:
    sample=1,
    evaluate=1,


def max_parts(process):
    """Return the largest number of parts of ``sample`` or ``evaluate``."""
    return len(getattr(gather, process)("{scatteritem}"))


def parts(wildcards, process):
    """Return the names of the parts of a sampler's molecules, such as 2-of-8; each has at least one batch."""
    num = config["runs"][wildcards.run]["samplers"][wildcards.sampler]["num"]
    count = min(max_parts(process), math.ceil(num / LARGEST_BATCH))
    return [f"{number}-of-{count}" for number in range(1, count + 1)]


def sample_parts(wildcards):
    """Return the parts of a sampler's molecules."""
    return [
        f"results/runs/{wildcards.run}/samples/{wildcards.sampler}/{part}.parquet"
        for part in parts(wildcards, "sample")
    ]


def record_parts(wildcards):
    """Return the evaluated parts of a sampler's molecules, or none if one job evaluates them all."""
    if max_parts("evaluate") == 1:
        return []
    folder = f"results/runs/{wildcards.run}/evaluation/{wildcards.sampler}"
    return [f"{folder}/{part}.parquet" for part in parts(wildcards, "evaluate")]


def on_cluster():
    """Return whether jobs run on a cluster."""
    return workflow.remote_exec or not workflow.local_exec


def resource_per_process(wildcards, key):
    """Return the cpus or gpus per process of a job: those of its run, or the cluster's default."""
    run = getattr(wildcards, "run", None)
    own = config["runs"][run]["resources"][key] if run else None
    return config["cluster"][key] if own is None else own


def all_cores(wildcards):
    """Return the threads of a JAX or PyTorch job, which uses all cores.

    On one machine --cores, so that such jobs run one after the other. Evaluated only when a job runs, since --report and
    --unlock need no --cores.
    """
    return resource_per_process(wildcards, "cpus") if on_cluster() else workflow.cores


def all_gpus(wildcards):
    """Return the GPUs of a single-process job."""
    return resource_per_process(wildcards, "gpus")


def cpus_and_gpus(wildcards):
    """Return the cpus and gpus per process of a job, as keywords of the estimates of its time and memory."""
    return {"cpus": all_cores(wildcards), "gpus": all_gpus(wildcards)}


def training_resource(wildcards, key="tasks"):
    """Return the number of tasks or nodes that a run trains on: 1 unless on a cluster."""
    return config["runs"][wildcards.run]["resources"][key] if on_cluster() else 1


def if_distributed(value):
    """Return a resource as a function that is None except for training in several processes."""
    return lambda wildcards: value(wildcards) if training_resource(wildcards) > 1 else None


def training_gpus(wildcards):
    """Return the total GPUs of a training."""
    return all_gpus(wildcards) * training_resource(wildcards)


def training_launch(wildcards):
    """Return the launcher that starts a training's command."""
    tasks = training_resource(wildcards)
    if tasks == 1:
        return ""
    gpus = f" --gpus-per-task={all_gpus(wildcards)}" if all_gpus(wildcards) else ""
    return f"srun --ntasks={tasks} --cpus-per-task={all_cores(wildcards)}{gpus}"


def weights_of(run):
    """Return the weights of a run, or none for None."""
    return f"results/runs/{run}/weights.safetensors" if run else []


def first_file(wildcards):
    """Return the weights of the run that makes a sampler's first call, or none."""
    return weights_of(config["runs"][wildcards.run]["samplers"][wildcards.sampler]["first"])


def sampling_inputs(wildcards, input):
    """Return the options that pass what a sampler may need: searched levels, and who makes its first call."""
    return flags(**{key: file for key in ("levels", "first") if (file := getattr(input, key))})


def run_config_of(run):
    """Return the configuration of a run."""
    return run_config(run_settings(config, run))


def training_runtime(wildcards, attempt):
    """Return a training's time limit in minutes; the next attempt resumes a training that exceeds it."""
    run = run_config_of(wildcards.run)
    minutes = training_minutes(
        run, config["data"]["buckets"], tasks=training_resource(wildcards), **cpus_and_gpus(wildcards)
    )
    return time_limit(minutes, attempt)


def training_memory(wildcards, attempt):
    """Return a training's memory per machine in MB."""
    run = run_config_of(wildcards.run)
    tasks = training_resource(wildcards) // training_resource(wildcards, "nodes")
    return attempt * memory_megabytes(run, config["data"]["buckets"], tasks=tasks, **cpus_and_gpus(wildcards))


def sampling_runtime(wildcards, attempt):
    """Return the time limit in minutes of a job that samples a sampler's molecules or one part of them."""
    run = run_config_of(wildcards.run)
    sampler = sampler_config(sampler_settings(config, wildcards.run, wildcards.sampler))
    shards = len(parts(wildcards, "sample"))
    return time_limit(
        sampling_minutes(run, sampler, config["data"]["buckets"], shards=shards, **cpus_and_gpus(wildcards)), attempt
    )


def sampling_memory(wildcards, attempt):
    """Return the memory in MB of a job that only calls a run's network: that of training, an upper bound."""
    return memory_to_call(wildcards.run, wildcards, attempt)


def prediction_memory(wildcards, attempt):
    """Return the memory in MB of a job that calls the network of a run's regressor, likewise."""
    return memory_to_call(config["runs"][wildcards.run]["regressor"], wildcards, attempt)


def memory_to_call(run, wildcards, attempt):
    return attempt * memory_megabytes(run_config_of(run), config["data"]["buckets"], **cpus_and_gpus(wildcards))


def time_limit(minutes, attempt):
    """Return an attempt's time limit for a job estimated to take ``minutes``."""
    return min(attempt * minutes, config["cluster"]["max_minutes"])


def per_attempt(resources):
    """Return a resource, in minutes or MB, that grows in proportion to the attempt."""
    return lambda wildcards, attempt: attempt * resources


released_runs = [run for run, settings in config["runs"].items() if settings["released"]]


def any_of(names):
    """Return a regular expression that matches any of the names, and nothing if there are none."""
    return "|".join(sorted(names)) or "(?!)"


def run_files(name):
    """Return the paths of a file of every run that generates molecules, in study order."""
    return [f"results/runs/{run}/{name}" for run, settings in config["runs"].items() if settings["samplers"]]


def property_files():
    """Return the errors of the properties that samples were asked for, of every run that names a regressor."""
    return [
        f"results/runs/{run}/properties/{sampler}.json"
        for run, settings in config["runs"].items()
        for sampler, sampling in settings["samplers"].items()
        if settings["regressor"] and sampling["properties"] != {}
    ]


def baseline_files():
    """Return the errors of baselines for every regressor that a run names."""
    names = dict.fromkeys(settings["regressor"] for settings in config["runs"].values())
    return [f"results/runs/{name}/baselines.json" for name in names if name]


def sampler_files(pattern):
    """Return the paths of a file of every sampler of every run; ``pattern`` contains ``{sampler}``."""
    return [
        f"results/runs/{run}/{pattern.format(sampler=sampler)}"
        for run, settings in config["runs"].items()
        for sampler in settings["samplers"]
    ]


def property_file(wildcards):
    """Return the file with the properties that a run is conditioned on, or none."""
    return data_path("molecules.parquet") if config["runs"][wildcards.run]["condition"] else []


def condition_check(wildcards):
    """Return what tells that a run's data have the properties it is conditioned on, or none."""
    return "results/runs/{run}/condition.checked" if config["runs"][wildcards.run]["condition"] else []


def start_levels(wildcards):
    """Return the levels that a search starts from, or none."""
    fewer = fewer_calls(int(wildcards.calls))
    return f"results/runs/{wildcards.run}/levels/{fewer}.json" if fewer else []


def levels_file(wildcards):
    """Return the file with a sampler's searched noise levels, or none if it needs none."""
    sampler = config["runs"][wildcards.run]["samplers"][wildcards.sampler]
    # Weight files of released models contain theirs.
    searched = sampler["kind"] == "consistency" and sampler["levels"] is None and wildcards.run not in released_runs
    return f"results/runs/{wildcards.run}/levels/{sampler['steps']}.json" if searched else []


def run_json(wildcards):
    """Return the settings that affect a run's weights, as JSON."""
    return json.dumps(run_settings(config, wildcards.run), indent=2)


def sampler_json(wildcards):
    """Return a sampler's settings as JSON."""
    return json.dumps(sampler_settings(config, wildcards.run, wildcards.sampler), indent=2)


def trajectory_file():
    """Return the path of the trajectory to draw, or none."""
    trajectory = config["figures"]["trajectory"]
    return "results/runs/{run}/trajectories/{sampler}.parquet".format(**trajectory) if trajectory else []


def trained_files(wildcards):
    """Return the trained weights, sampler and its levels to benchmark, by name, or none."""
    trained = config["benchmark"]["sampling"]["trained"]
    if not trained:
        return {}
    run = f"results/runs/{trained['run']}"
    files = {"weights": f"{run}/weights.safetensors", "sampler": f"{run}/samplers/{trained['sampler']}.json"}
    levels = levels_file(SimpleNamespace(**trained))
    return files | ({"levels": levels} if levels else {})


def benchmark_results(wildcards):
    """Return the benchmarks if the study requests them or they exist, or none."""
    path = "results/benchmarks"
    return path if config["figures"]["benchmarks"] or os.path.isdir(path) else []
