# Molecules from a run's weights.
#
# in:  results/runs/{run}/weights.safetensors, samplers/{sampler}.json
# out: results/runs/{run}/levels/{calls}.json              noise levels found for few-step samplers
#      results/runs/{run}/samples/{sampler}.parquet        sampled molecules
#      results/runs/{run}/samples/{sampler}/               their parts, temporary
#      results/runs/{run}/trajectories/{sampler}.parquet   one molecule from noise to sample


rule levels:
    input:
        weights="results/runs/{run}/weights.safetensors",
        # One search per number of calls, so that a new one does not repeat the others.
        start=start_levels,
    output:
        "results/runs/{run}/levels/{calls}.json",
    log:
        "results/logs/levels/{run}-{calls}.log",
    benchmark:
        "results/timings/levels/{run}-{calls}.tsv"
    conda:
        "../../envs/runtime.yaml"
    threads: all_cores
    resources:
        mem_mb=sampling_memory,
        runtime=per_attempt(120),
        gpu=all_gpus,
    params:
        options=lambda wildcards: flags(calls=wildcards.calls, **config["search"]),
        start=lambda wildcards, input: flags(start=input.start) if input.start else [],
    shell:
        "python -m pipeline.cli.levels --weights {input.weights:q} {params.options:q} {params.start:q}"
        " --output {output:q} --log {log:q}"


rule sample:
    input:
        weights="results/runs/{run}/weights.safetensors",
        sampler="results/runs/{run}/samplers/{sampler}.json",
        levels=levels_file,
        first=first_file,
    output:
        "results/runs/{run}/samples/{sampler}.parquet",
    log:
        "results/logs/sample/{run}-{sampler}.log",
    benchmark:
        "results/timings/sample/{run}-{sampler}.tsv"
    conda:
        "../../envs/runtime.yaml"
    threads: all_cores
    resources:
        mem_mb=sampling_memory,
        runtime=sampling_runtime,
        gpu=all_gpus,
    params:
        other=sampling_inputs,
        part=[],
    shell:
        "python -m pipeline.cli.sample --weights {input.weights:q} --sampler {input.sampler:q}"
        " {params.other:q} {params.part:q} --output {output:q} --log {log:q}"


if max_parts("sample") > 1:

    # Several jobs per sampler: `--set-scatter sample=8`, or in a profile.
    localrules:
        merge,

    ruleorder: merge > sample

    use rule sample as sample_part with:
        output:
            temp("results/runs/{run}/samples/{sampler}/{scatteritem}.parquet"),
        log:
            "results/logs/sample/{run}-{sampler}-{scatteritem}.log",
        benchmark:
            "results/timings/sample/{run}-{sampler}-{scatteritem}.tsv"
        params:
            other=sampling_inputs,
            part=lambda wildcards: flags(part=wildcards.scatteritem),

    rule merge:
        input:
            sample_parts,
        output:
            "results/runs/{run}/samples/{sampler}.parquet",
        log:
            "results/logs/merge/{run}-{sampler}.log",
        conda:
            "../../envs/runtime.yaml"
        resources:
            mem_mb=1000,
            runtime=10,
        shell:
            "python -m pipeline.cli.merge {input:q} --output {output:q} --log {log:q}"


rule trajectory:
    input:
        weights="results/runs/{run}/weights.safetensors",
        sampler="results/runs/{run}/samplers/{sampler}.json",
        levels=levels_file,
        first=first_file,
    output:
        "results/runs/{run}/trajectories/{sampler}.parquet",
    log:
        "results/logs/trajectory/{run}-{sampler}.log",
    conda:
        "../../envs/runtime.yaml"
    threads: all_cores
    resources:
        mem_mb=sampling_memory,
        runtime=per_attempt(60),
        gpu=all_gpus,
    params:
        other=sampling_inputs,
        options=lambda wildcards: flags(
            trajectory=config["figures"]["trajectory"]["frames"], seed=config["figures"]["trajectory"]["seed"]
        ),
    shell:
        "python -m pipeline.cli.sample --weights {input.weights:q} --sampler {input.sampler:q}"
        " {params.other:q} --num 1 {params.options:q} --output {output:q} --log {log:q}"
