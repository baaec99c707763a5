# Training and sampling speed of the backends and of the published EDM.
#
# in:  results/data/{data}/shards/, statistics.json; weights and sampler of the run that config benchmark.sampling.trained
#      names, if any
# out: results/benchmarks/   machine, peak, training, sampling, scaling and startup, each .json; table.md


rule benchmark:
    input:
        unpack(trained_files),
        shards=data_path("shards"),
        statistics=data_path("statistics.json"),
    output:
        directory("results/benchmarks"),
    log:
        "results/logs/benchmark.log",
    conda:
        "../../envs/runtime.yaml"
    # Runs alone.
    threads: all_cores
    resources:
        mem_mb=more(12000),
        runtime=more(120),
        gpu=all_gpus,
    params:
        settings=json.dumps(config["benchmark"]),
        trained=lambda wildcards, input: (
            flags(weights=input.weights, sampler=input.sampler) if "weights" in input.keys() else []
        ),
    shell:
        "python -m pipeline.cli.benchmark --shards {input.shards:q} --statistics {input.statistics:q}"
        " {params.trained:q} --settings {params.settings:q} --output {output:q} --log {log:q}"
