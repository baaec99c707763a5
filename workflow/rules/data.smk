# Molecules, from their source to the shards that training reads.
#
# in:  a download, or config data.path
# out: results/data/raw/{source}/                  as published, verified by checksum
#      results/data/{data}/molecules.parquet       every molecule with its split and properties; beside it, while they are
#                                                  made of SMILES, conformers/
#      results/data/{data}/shards/                 padded in size buckets
#      results/data/{data}/statistics.json         sizes, types and scales of the training molecules


# Local, because a cluster's nodes may have no network.
localrules:
    download,


rule download:
    output:
        directory("results/data/raw/{source}"),
    log:
        "results/logs/download/{source}.log",
    conda:
        "../../envs/runtime.yaml"
    resources:
        mem_mb=1000,
        runtime=60,
    shell:
        "python -m pipeline.cli.download --source {wildcards.source:q} --output {output:q} --log {log:q}"


rule parse:
    input:
        molecule_source,
    output:
        "results/data/{data}/molecules.parquet",
    log:
        "results/logs/parse/{data}.log",
    conda:
        "../../envs/runtime.yaml"
    threads: all_cores if config["data"]["source"] == "smiles" else 1
    resources:
        mem_mb=per_attempt(2000),
        # An attempt goes on with the conformers of the one before.
        runtime=per_attempt(120 if config["data"]["source"] == "smiles" else 10),
    params:
        options=flags(
            source=config["data"]["source"],
            split_seed=config["data"]["split"]["seed"],
            train=config["data"]["split"]["train"],
            validation=config["data"]["split"]["validation"],
        )
        + ["--skip-invalid"] * config["data"]["skip"]
        + (flags(conformers=config["data"]["conformers"]) if config["data"]["conformers"] > 1 else []),
        version=molecule_version,
    shell:
        "python -m pipeline.cli.parse --input {input:q} {params.options:q} --processes {threads} --output {output:q} --log {log:q}"


rule shard:
    input:
        "results/data/{data}/molecules.parquet",
    output:
        shards=directory("results/data/{data}/shards"),
        statistics="results/data/{data}/statistics.json",
    log:
        "results/logs/shard/{data}.log",
    conda:
        "../../envs/runtime.yaml"
    resources:
        mem_mb=per_attempt(2000),
        runtime=per_attempt(10),
    params:
        # Where the study has none, they are found from the molecules.
        options=flags(buckets=config["data"]["buckets"]) if config["data"]["buckets"] else [],
    shell:
        "python -m pipeline.cli.shard --molecules {input:q} {params.options:q}"
        " --shards {output.shards:q} --statistics {output.statistics:q} --log {log:q}"
