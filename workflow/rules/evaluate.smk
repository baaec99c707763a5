# Scores of samples, of the data (ceiling) and of noise (floor), all by one evaluator.
#
# in:  results/runs/{run}/samples/{sampler}.parquet, weights.safetensors; results/data/{data}/molecules.parquet, shards/
# out: results/runs/{run}/evaluation/{sampler}.json   stability, validity, uniqueness, novelty
#      results/runs/{run}/evaluation/{sampler}/       its parts, temporary
#      results/runs/{run}/likelihood.json             of the test molecules, for objective edm
#      results/runs/{run}/metrics.json                all of these for a run
#      results/runs/{run}/properties/{sampler}.json   of a conditional run, errors of the properties asked for
#      results/runs/{run}/baselines.json              of a property regressor, the errors that those are between
#      results/reference/{data}.json, noise.json      ceiling and floor


# Local, because it only merges JSON files.
localrules:
    gather,


rule evaluate:
    input:
        samples="results/runs/{run}/samples/{sampler}.parquet",
        train=[] if max_parts("evaluate") > 1 else data_path("molecules.parquet"),
        records=record_parts,
    output:
        "results/runs/{run}/evaluation/{sampler}.json",
    log:
        "results/logs/evaluate/{run}-{sampler}.log",
    conda:
        "../../envs/runtime.yaml"
    resources:
        mem_mb=per_attempt(2000),
        runtime=per_attempt(60),
    params:
        against=lambda wildcards, input: (
            flags(records=list(input.records)) if input.records else flags(train=input.train)
        ),
        options=flags(**config["evaluation"]),
    shell:
        "python -m pipeline.cli.evaluate {input.samples:q} {params.against:q} {params.options:q}"
        " --output {output:q} --log {log:q}"


# Used with `--set-scatter evaluate=4` or similar.
rule judge:
    input:
        samples="results/runs/{run}/samples/{sampler}.parquet",
        train=data_path("molecules.parquet"),
    output:
        temp("results/runs/{run}/evaluation/{sampler}/{scatteritem}.parquet"),
    log:
        "results/logs/judge/{run}-{sampler}-{scatteritem}.log",
    conda:
        "../../envs/runtime.yaml"
    resources:
        mem_mb=per_attempt(2000),
        runtime=per_attempt(60),
    shell:
        "python -m pipeline.cli.judge {input.samples:q} --part {wildcards.scatteritem:q} --train {input.train:q}"
        " --output {output:q} --log {log:q}"


rule likelihood:
    input:
        weights="results/runs/{run}/weights.safetensors",
        shards=data_path("shards"),
    output:
        "results/runs/{run}/likelihood.json",
    log:
        "results/logs/likelihood/{run}.log",
    benchmark:
        "results/timings/likelihood/{run}.tsv"
    conda:
        "../../envs/runtime.yaml"
    threads: all_cores
    resources:
        mem_mb=sampling_memory,
        runtime=per_attempt(120),
        gpu=all_gpus,
    shell:
        "python -m pipeline.cli.likelihood --weights {input.weights:q} --shards {input.shards:q} --split test"
        " --output {output:q} --log {log:q}"


rule predict:
    input:
        weights=lambda wildcards: (f"results/runs/{config['runs'][wildcards.run]['regressor']}/weights.safetensors"),
        samples="results/runs/{run}/samples/{sampler}.parquet",
    output:
        "results/runs/{run}/properties/{sampler}.json",
    log:
        "results/logs/predict/{run}-{sampler}.log",
    conda:
        "../../envs/runtime.yaml"
    threads: all_cores
    resources:
        mem_mb=prediction_memory,
        runtime=per_attempt(30),
        gpu=all_gpus,
    shell:
        "python -m pipeline.cli.predict --weights {input.weights:q} --samples {input.samples:q}"
        " --output {output:q} --log {log:q}"


rule baselines:
    input:
        weights="results/runs/{run}/weights.safetensors",
        molecules=data_path("molecules.parquet"),
    output:
        "results/runs/{run}/baselines.json",
    log:
        "results/logs/baselines/{run}.log",
    conda:
        "../../envs/runtime.yaml"
    threads: all_cores
    resources:
        mem_mb=sampling_memory,
        runtime=per_attempt(30),
        gpu=all_gpus,
    shell:
        "python -m pipeline.cli.predict --weights {input.weights:q} --molecules {input.molecules:q}"
        " --output {output:q} --log {log:q}"


rule gather:
    input:
        evaluations=lambda wildcards: expand(
            "results/runs/{run}/evaluation/{sampler}.json",
            run=wildcards.run,
            sampler=config["runs"][wildcards.run]["samplers"],
        ),
        likelihood=lambda wildcards: (
            "results/runs/{run}/likelihood.json" if config["runs"][wildcards.run]["objective"] == "edm" else []
        ),
    output:
        "results/runs/{run}/metrics.json",
    log:
        "results/logs/gather/{run}.log",
    conda:
        "../../envs/runtime.yaml"
    resources:
        mem_mb=500,
        runtime=5,
    params:
        likelihood=lambda wildcards, input: flags(likelihood=input.likelihood) if input.likelihood else [],
    shell:
        "python -m pipeline.cli.gather --run {wildcards.run:q} --evaluations {input.evaluations:q}"
        " {params.likelihood:q} --output {output:q} --log {log:q}"


rule reference:
    input:
        data_path("molecules.parquet"),
    output:
        "results/reference/{data}.json",
    log:
        "results/logs/reference/{data}.log",
    conda:
        "../../envs/runtime.yaml"
    threads: 2
    resources:
        mem_mb=per_attempt(4000),
        runtime=per_attempt(60),
    params:
        options=flags(**config["evaluation"]),
    shell:
        "python -m pipeline.cli.evaluate {input:q} --processes {threads} {params.options:q}"
        " --output {output:q} --log {log:q}"


rule noise:
    input:
        data_path("statistics.json"),
    output:
        "results/reference/noise.parquet",
    log:
        "results/logs/noise/draw.log",
    conda:
        "../../envs/runtime.yaml"
    resources:
        mem_mb=per_attempt(1000),
        runtime=per_attempt(10),
    params:
        options=flags(num=config["reference"]["noise_molecules"], seed=config["reference"]["seed"]),
    shell:
        "python -m pipeline.cli.noise --statistics {input:q} {params.options:q} --output {output:q} --log {log:q}"


rule noise_floor:
    input:
        "results/reference/noise.parquet",
    output:
        "results/reference/noise.json",
    log:
        "results/logs/noise/evaluate.log",
    conda:
        "../../envs/runtime.yaml"
    resources:
        mem_mb=per_attempt(2000),
        runtime=per_attempt(30),
    params:
        options=flags(**config["evaluation"]),
    shell:
        "python -m pipeline.cli.evaluate {input:q} {params.options:q} --output {output:q} --log {log:q}"
