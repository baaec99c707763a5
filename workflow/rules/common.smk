# What the rules share. No rules here.
import json

from pipeline.config import run_settings, sampler_settings

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


def all_cores(wildcards):
    """Return --cores as the threads of a job of JAX, which takes every core it finds: such jobs run one after the other.

    Asked for only when a job is to run; --report and --unlock need no --cores.
    """
    return workflow.cores


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
