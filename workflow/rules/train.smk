# Runs, from their settings to weights.
#
# in:  results/data/{data}/shards/, statistics.json; weights of the run's init and teacher; results/data/{data}/molecules.parquet for
#      the properties of a run's condition
# out: results/runs/{run}/config.json               the run's settings with defaults filled in
#      results/runs/{run}/samplers/{sampler}.json   the same for a sampler
#      results/runs/{run}/weights.safetensors       moving average of the weights after the last step
#      results/runs/{run}/metrics.jsonl             losses and sample stability during training
#      results/runs/{run}/condition.checked         empty; written before any training if the data have the run's properties
# Rolling checkpoints in results/runs/{run}/state/ are not declared, so they survive a failed job.


localrules:
    configure_run,
    configure_sampler,
    released_weights,
    released_log,


# No rule takes the study file as input, so a job reruns only if its own settings change.
rule configure_run:
    output:
        "results/runs/{run}/config.json",
    log:
        "results/logs/configure/{run}.log",
    # For check_condition to be ready before any training is.
    priority: 1
    conda:
        "../../envs/runtime.yaml"
    resources:
        mem_mb=500,
        runtime=5,
    params:
        settings=run_json,
    shell:
        "printf '%s\\n' {params.settings:q} >{output:q} 2>{log:q}"


rule configure_sampler:
    output:
        "results/runs/{run}/samplers/{sampler}.json",
    log:
        "results/logs/configure/{run}-{sampler}.log",
    conda:
        "../../envs/runtime.yaml"
    resources:
        mem_mb=500,
        runtime=5,
    params:
        settings=sampler_json,
    shell:
        "printf '%s\\n' {params.settings:q} >{output:q} 2>{log:q}"


# Released models are copied instead of trained; their training log is one line with the training time.
rule released_weights:
    input:
        lambda wildcards: released_path(wildcards.run),
    output:
        "results/runs/{run}/weights.safetensors",
    log:
        "results/logs/released/{run}.log",
    wildcard_constraints:
        run=any_of(released_runs),
    conda:
        "../../envs/runtime.yaml"
    resources:
        mem_mb=500,
        runtime=5,
    shell:
        "cp {input:q} {output:q} 2>{log:q}"


rule released_log:
    input:
        lambda wildcards: released_path(wildcards.run),
    output:
        "results/runs/{run}/metrics.jsonl",
    log:
        "results/logs/released/{run}-metrics.log",
    wildcard_constraints:
        run=any_of(released_runs),
    conda:
        "../../envs/runtime.yaml"
    resources:
        mem_mb=500,
        runtime=5,
    params:
        line=lambda wildcards: json.dumps(released_training(wildcards.run)),
    shell:
        "printf '%s\\n' {params.line:q} >{output:q} 2>{log:q}"


# A property that the data lack should not wait for the trainings that its run starts from.
rule check_condition:
    input:
        config="results/runs/{run}/config.json",
        shards=data_path("shards"),
        statistics=data_path("statistics.json"),
        molecules=data_path("molecules.parquet"),
    output:
        touch("results/runs/{run}/condition.checked"),
    log:
        "results/logs/check_condition/{run}.log",
    priority: 1
    conda:
        "../../envs/runtime.yaml"
    resources:
        mem_mb=per_attempt(2000),
        runtime=per_attempt(10),
    shell:
        "python -m pipeline.cli.train --check --config {input.config:q} --shards {input.shards:q}"
        " --statistics {input.statistics:q} --molecules {input.molecules:q} --log {log:q}"


rule train:
    input:
        config="results/runs/{run}/config.json",
        shards=data_path("shards"),
        statistics=data_path("statistics.json"),
        molecules=property_file,
        checked=condition_check,
        # Runs that are trained first: the one it starts from and the one it learns from.
        init=lambda wildcards: weights_of(config["runs"][wildcards.run]["init"]),
        teacher=lambda wildcards: weights_of(config["runs"][wildcards.run]["teacher"]),
    output:
        weights="results/runs/{run}/weights.safetensors",
        metrics="results/runs/{run}/metrics.jsonl",
    log:
        "results/logs/train/{run}.log",
    benchmark:
        "results/timings/train/{run}.tsv"
    wildcard_constraints:
        run=any_of(set(config["runs"]) - set(released_runs)),
    conda:
        "../../envs/runtime.yaml"
    threads: all_cores
    resources:
        mem_mb=training_memory,
        runtime=training_runtime,
        gpu=training_gpus,
        # Several processes: only on a cluster, if the run requests them.
        nodes=if_distributed(lambda wildcards: training_resource(wildcards, "nodes")),
        tasks=if_distributed(training_resource),
        mpi=if_distributed(lambda wildcards: "srun"),
        # Otherwise the executor multiplies tasks by GPUs.
        tasks_per_gpu=if_distributed(lambda wildcards: 0),
        launch=training_launch,
    params:
        directory=lambda wildcards, output: os.path.dirname(output.weights),
        starts=lambda wildcards, input: flags(
            **{key: input[key] for key in ("init", "teacher") if config["runs"][wildcards.run][key]},
            **({"molecules": input.molecules} if input.molecules else {}),
        ),
    shell:
        "{resources.launch} python -m pipeline.cli.train --config {input.config:q} --shards {input.shards:q}"
        " --statistics {input.statistics:q} {params.starts:q} --output {params.directory:q} --log {log:q}"
