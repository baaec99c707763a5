# Runs, from their part of the study to weights.
#
# in:  results/data/{data}/shards/, statistics.json; weights of the runs that this one's init and teacher name
# out: results/runs/{run}/config.json               the run's part of the study, defaults written out
#      results/runs/{run}/samplers/{sampler}.json   likewise, a sampler's
#      results/runs/{run}/weights.safetensors       the moving average of the weights after the last step
#      results/runs/{run}/metrics.jsonl             losses and the stability of samples over training
# Rolling checkpoints are in results/runs/{run}/state/. They are not declared, so they survive a failed job.


localrules:
    configure_run,
    configure_sampler,


# The study file itself is nobody's input: a job reruns when its own part of it has changed.
rule configure_run:
    output:
        "results/runs/{run}/config.json",
    log:
        "results/logs/configure/{run}.log",
    conda:
        "../../envs/runtime.yaml"
    resources:
        mem_mb=500,
        runtime=5,
    params:
        settings=run_json,
    shell:
        "python -m pipeline.cli.configure --run {params.settings:q} --output {output:q} --log {log:q}"


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
        "python -m pipeline.cli.configure --sampler {params.settings:q} --output {output:q} --log {log:q}"


rule train:
    input:
        config="results/runs/{run}/config.json",
        shards=data_path("shards"),
        statistics=data_path("statistics.json"),
        # The runs that this one starts from and learns from, which are trained before it.
        init=lambda wildcards: start_file(wildcards.run, "init"),
        teacher=lambda wildcards: start_file(wildcards.run, "teacher"),
    output:
        weights="results/runs/{run}/weights.safetensors",
        metrics="results/runs/{run}/metrics.jsonl",
    log:
        "results/logs/train/{run}.log",
    benchmark:
        "results/timings/train/{run}.tsv"
    conda:
        "../../envs/runtime.yaml"
    threads: all_cores
    resources:
        mem_mb=training_memory,
        runtime=training_runtime,
        gpu=training_gpus,
        # Several processes, only on a cluster and where the run asks for them.
        nodes=if_distributed(lambda wildcards: training_tasks(wildcards, "nodes")),
        tasks=if_distributed(training_tasks),
        mpi=if_distributed(lambda wildcards: "srun"),
        # The executor would multiply tasks and GPUs.
        tasks_per_gpu=if_distributed(lambda wildcards: 0),
        launch=training_launch,
    params:
        directory=lambda wildcards, output: os.path.dirname(output.weights),
        starts=lambda wildcards, input: flags(
            **{key: input[key] for key in ("init", "teacher") if config["runs"][wildcards.run][key]}
        ),
    shell:
        "{resources.launch} python -m pipeline.cli.train --config {input.config:q} --shards {input.shards:q}"
        " --statistics {input.statistics:q} {params.starts:q} --output {params.directory:q} --log {log:q}"
