# All figures, their table and a page that shows them.
#
# in:  of every run weights.safetensors, metrics.jsonl, metrics.json and samples/; results/data/{data}/molecules.parquet;
#      results/reference/; properties/ and baselines.json of conditional runs and their regressors; the trajectory that
#      config figures.trajectory names; results/benchmarks/ if present
# out: results/figures/   {figure}.svg and .png, table.csv, table.md, molecules.csv, index.html


rule figures:
    input:
        weights=run_files("weights.safetensors"),
        curves=run_files("metrics.jsonl"),
        metrics=run_files("metrics.json"),
        samples=sampler_files("samples/{sampler}.parquet"),
        molecules=data_path("molecules.parquet"),
        ceiling=f"results/reference/{config['data']['name']}.json",
        floor="results/reference/noise.json",
        properties=property_files(),
        baselines=baseline_files(),
        trajectory=trajectory_file(),
        benchmarks=benchmark_results,
    output:
        report(
            directory("results/figures"),
            patterns=["{figure}.{format,svg|csv}"],
            caption="../report/figures.rst",
            category="Results",
            labels={"figure": "{figure}", "format": "{format}"},
        ),
    log:
        "results/logs/figures.log",
    conda:
        "../../envs/runtime.yaml"
    resources:
        mem_mb=per_attempt(3000),
        runtime=per_attempt(30),
    params:
        options=flags(dataset=config["data"]["name"], gallery_molecules=config["figures"]["gallery_molecules"]),
        trajectory=lambda wildcards, input: flags(trajectory=input.trajectory) if input.trajectory else [],
        benchmarks=lambda wildcards, input: flags(benchmarks=input.benchmarks) if input.benchmarks else [],
        properties=lambda wildcards, input: (
            flags(properties=list(input.properties), baselines=list(input.baselines)) if input.properties else []
        ),
    shell:
        "python -m pipeline.cli.figures --weights {input.weights:q} --curves {input.curves:q}"
        " --metrics {input.metrics:q} --samples {input.samples:q} --molecules {input.molecules:q}"
        " --ceiling {input.ceiling:q} --floor {input.floor:q} {params.trajectory:q} {params.benchmarks:q} {params.properties:q}"
        " {params.options:q} --output {output:q} --log {log:q}"
