# What the rules share. No rules here.
import json
import math
from pathlib import Path

from pipeline.study.config import run_config, run_settings, sampler_config, sampler_settings
from pipeline.study.costs import memory_megabytes, sampling_minutes, training_minutes
from pipeline.sampling.parts import LARGEST_BATCH

# `.venv/bin/snakemake` without an activated environment: jobs too should find the Python that Snakemake runs on.
if (folder := os.path.dirname(sys.executable)) not in os.get_exec_path():
    os.environ.update(PATH=os.pathsep.join([folder, *os.get_exec_path()]))


def flags(**settings):
    """Return settings as command-line flags: ``split_seed=0`` gives ``["--split-seed", "0"]``; a list gives a flag of many.

    Snakemake compares a job's params as a set of values without their names. As one list, swapped values are seen too.
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
    """Return what the molecules are parsed from: a download, or the user's own file or folder."""
    data = config["data"]
    if data["source"] != "path":
        return f"results/data/raw/{data['source']}"
    path = data["path"]
    # Relative to the Snakefile, whatever --directory says; spelt from the working directory, so that a moved project is
    # not a changed one.
    return path if os.path.isabs(path) else os.path.relpath(os.path.join(workflow.basedir, path))


def newest_molecules(wildcards):
    """Return when something in the user's folder of molecules last changed, in nanoseconds; 0 for any other source.

    The time of the folder itself says nothing of what is in its files. These are no inputs: there may be a hundred
    thousand, with names that Snakemake would take for patterns.
    """
    # Of the wildcards alone: a change of what a function makes of the input is no reason to Snakemake.
    within = Path(molecule_source(wildcards)).rglob("*") if config["data"]["source"] == "path" else []
    return max((entry.lstat().st_mtime_ns for entry in within if not entry.name.startswith(".")), default=0)


# In how many jobs the molecules of a sampler are drawn and judged at most; a profile says more.
scattergather:
    sample=1,
    evaluate=1,


def most_parts(process):
    """Return in how many parts ``sample`` or ``evaluate`` may be split."""
    return len(getattr(gather, process)("{scatteritem}"))


def parts(wildcards, process):
    """Return the names of the parts of a sampler's molecules, such as 2-of-8; each has a batch or more."""
    num = config["runs"][wildcards.run]["samplers"][wildcards.sampler]["num"]
    count = min(most_parts(process), math.ceil(num / LARGEST_BATCH))
    return [f"{number}-of-{count}" for number in range(1, count + 1)]


def sample_parts(wildcards):
    """Return the parts of a sampler's molecules."""
    return [
        f"results/runs/{wildcards.run}/samples/{wildcards.sampler}/{part}.parquet"
        for part in parts(wildcards, "sample")
    ]


def record_parts(wildcards):
    """Return what the parts of a sampler's molecules were found to be, or none if that is one job's work."""
    if most_parts("evaluate") == 1:
        return []
    folder = f"results/runs/{wildcards.run}/evaluation/{wildcards.sampler}"
    return [f"{folder}/{part}.parquet" for part in parts(wildcards, "evaluate")]


def on_cluster():
    """Return whether jobs are sent to a cluster, or this is such a job."""
    return workflow.remote_exec or not workflow.local_exec


def wanted(wildcards, key):
    """Return the cpus or gpus of each process of a job: the run's own, or what holds for every job of this cluster."""
    run = getattr(wildcards, "run", None)
    own = config["runs"][run]["resources"][key] if run else None
    return config["cluster"][key] if own is None else own


def all_cores(wildcards):
    """Return the threads of a job of JAX or PyTorch, which take every core they find.

    On one machine --cores: such jobs run one after the other. Asked for only when a job is to run; --report and --unlock
    need no --cores.
    """
    return wanted(wildcards, "cpus") if on_cluster() else workflow.cores


def all_gpus(wildcards):
    """Return the GPUs of a job of one process."""
    return wanted(wildcards, "gpus")


def asked(wildcards):
    """Return the cpus and gpus that a job's time and memory are estimated for, as keywords."""
    return {"cpus": all_cores(wildcards), "gpus": all_gpus(wildcards)}


def spread(wildcards, key="tasks"):
    """Return how many tasks or nodes a run trains on; on one machine a training is one process."""
    return config["runs"][wildcards.run]["resources"][key] if on_cluster() else 1


def if_spread(value):
    """Return a resource that only a training of several processes has."""
    return lambda wildcards: value(wildcards) if spread(wildcards) > 1 else None


def training_gpus(wildcards):
    """Return the GPUs of a training, of all its processes together."""
    return all_gpus(wildcards) * spread(wildcards)


def training_launch(wildcards):
    """Return what goes before a training's command.

    Either way the signal that a time limit sends reaches the training itself, which saves its state: a shell in between
    would die of it and leave the training behind.
    """
    tasks = spread(wildcards)
    if tasks == 1:
        return "exec"
    gpus = f" --gpus-per-task={all_gpus(wildcards)}" if all_gpus(wildcards) else ""
    return f"exec srun --ntasks={tasks} --cpus-per-task={all_cores(wildcards)}{gpus}"


def levels_option(wildcards, input):
    """Return the option that gives a sampler the levels which were searched for, if it has none of its own."""
    return flags(levels=input.levels) if input.levels else []


def configured(wildcards):
    """Return the configuration of a job's run."""
    return run_config(run_settings(config, wildcards.run))


def training_runtime(wildcards, attempt):
    """Return a training's time limit in minutes. What the partition cuts off, the next attempt goes on with."""
    run = configured(wildcards)
    minutes = training_minutes(run, config["data"]["buckets"], tasks=spread(wildcards), **asked(wildcards))
    return in_time(minutes, attempt)


def training_memory(wildcards, attempt):
    """Return the memory of a training on each of its machines, in MB."""
    run = configured(wildcards)
    tasks = spread(wildcards) // spread(wildcards, "nodes")
    return attempt * memory_megabytes(run, config["data"]["buckets"], tasks=tasks, **asked(wildcards))


def sampling_runtime(wildcards, attempt):
    """Return the time limit of a job that draws a sampler's molecules, or one shard of them, in minutes."""
    run = configured(wildcards)
    sampler = sampler_config(sampler_settings(config, wildcards.run, wildcards.sampler))
    shards = len(parts(wildcards, "sample"))
    return in_time(
        sampling_minutes(run, sampler, config["data"]["buckets"], shards=shards, **asked(wildcards)), attempt
    )


def sampling_memory(wildcards, attempt):
    """Return the memory of a job that only calls a run's network, in MB; less than its gradients take."""
    run = configured(wildcards)
    return attempt * memory_megabytes(run, config["data"]["buckets"], **asked(wildcards))


def in_time(minutes, attempt):
    """Return the time limit of an attempt of a job that should need some minutes."""
    return min(attempt * minutes, config["cluster"]["max_minutes"])


def more(resources):
    """Return a job's minutes or megabytes as a function of the attempt: twice as much the second time."""
    return lambda wildcards, attempt: attempt * resources


def run_files(name):
    """Return the path of a file of every run, in the order of the study."""
    return [f"results/runs/{run}/{name}" for run in config["runs"]]


def sampler_files(pattern):
    """Return the paths of a file of every sampler of every run; ``pattern`` has a place for ``{sampler}``."""
    return [
        f"results/runs/{run}/{pattern.format(sampler=sampler)}"
        for run, settings in config["runs"].items()
        for sampler in settings["samplers"]
    ]


def start_file(run, key):
    """Return the weights of the run that a run's ``init`` or ``teacher`` names, or none."""
    other = config["runs"][run][key]
    return f"results/runs/{other}/weights.safetensors" if other else []


def searched_calls(run):
    """Return the numbers of network calls of a run's samplers whose noise levels are searched for."""
    samplers = config["runs"][run]["samplers"].values()
    return sorted({one["steps"] for one in samplers if one["kind"] == "consistency" and one["levels"] is None})


def levels_file(wildcards):
    """Return where a sampler's noise levels were searched for, or none if it needs no search."""
    sampler = config["runs"][wildcards.run]["samplers"][wildcards.sampler]
    searched = sampler["kind"] == "consistency" and sampler["levels"] is None
    return f"results/runs/{wildcards.run}/levels.json" if searched else []


def run_json(wildcards):
    """Return what shapes a run's weights as JSON."""
    return json.dumps(run_settings(config, wildcards.run))


def sampler_json(wildcards):
    """Return a sampler's settings as JSON."""
    return json.dumps(sampler_settings(config, wildcards.run, wildcards.sampler))


def trajectory_file():
    """Return the path of the trajectory to draw, or none."""
    trajectory = config["figures"]["trajectory"]
    return "results/runs/{run}/trajectories/{sampler}.parquet".format(**trajectory) if trajectory else []


def trained_files(wildcards):
    """Return the weights and the sampler to benchmark sampling with, by name, or none."""
    trained = config["benchmark"]["sampling"]["trained"]
    if not trained:
        return {}
    run = f"results/runs/{trained['run']}"
    return {"weights": f"{run}/weights.safetensors", "sampler": f"{run}/samplers/{trained['sampler']}.json"}


def benchmark_results(wildcards):
    """Return the benchmarks where the study asks for them or they are there already, or none."""
    path = "results/benchmarks"
    return path if config["figures"]["benchmarks"] or os.path.isdir(path) else []
