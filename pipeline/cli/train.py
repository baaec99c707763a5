"""Stage train: train a run; after an interruption it resumes from its last checkpoint.

    python -m pipeline.cli.train --config results/runs/edm/config.json --shards results/data/qm9/shards \
        --statistics results/data/qm9/statistics.json --output results/runs/edm
"""

import argparse
import json
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from pipeline.backends import load_backend
from pipeline.cli.common import add_backend, handle_stop_signals, run, stage_parser
from pipeline.core.errors import InputError
from pipeline.core.files import json_digest
from pipeline.data.properties import read_properties
from pipeline.data.shards import read_shards, take_half
from pipeline.data.statistics import read_statistics
from pipeline.study.config import RunConfig
from pipeline.study.group import read_settings
from pipeline.training.loop import Interrupted, TrainingRun
from pipeline.training.run_folder import MetricsLog, provenance, read_pretrained, write_weights


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage; return its exit status, 128 plus the signal number if a signal stopped it."""
    parser = stage_parser(__doc__)
    parser.add_argument("--config", required=True, type=Path, help="the run's config.json")
    parser.add_argument("--shards", required=True, type=Path, help="directory written by the stage shard")
    parser.add_argument("--statistics", required=True, type=Path, help="statistics.json written by the stage shard")
    parser.add_argument("--molecules", type=Path, help="molecules.parquet with the properties of a conditional run")
    parser.add_argument("--init", type=Path, help="weights.safetensors of the run to start from")
    parser.add_argument("--teacher", type=Path, help="weights.safetensors of the run to learn from")
    goal = parser.add_mutually_exclusive_group(required=True)
    goal.add_argument("--output", type=Path, help="the run's directory")
    goal.add_argument("--check", action="store_true", help="only check the data, with the properties of its condition")
    add_backend(parser, override=False)
    return run(_train, parser, argv)


def _train(args: argparse.Namespace) -> None:
    config = read_settings(RunConfig, args.config)
    settings = json.loads(args.config.read_text(encoding="utf-8"))
    statistics = read_statistics(args.statistics)
    shards = {split: read_shards(args.shards, split) for split in ("train", "validation")}
    statistics.check_elements([*shards["train"], *shards["validation"]])
    if config.training.half:
        shards["train"] = take_half(shards["train"], config.training.half)
    if config.condition and not args.molecules:
        raise InputError(f"run {config.name}: --molecules should name the file with the properties of its condition")
    properties = read_properties(args.molecules, config.condition, shards) if config.condition else None
    if args.check:
        return
    pretrained = read_pretrained(config, statistics.elements, init=args.init, teacher=args.teacher)
    # The state belongs to this configuration and these molecules. If they change, training starts again in another
    # folder; if they change back, it resumes; a checkpoint in the wrong folder is refused.
    checksums = [shard.digest() for shard in [*shards["train"], *shards["validation"]]]
    content = [settings, statistics.to_json(), *checksums]
    content += [properties.digest()] if properties else []
    content += pretrained.digests()
    digest = json_digest(content)
    state = args.output / "state" / digest[:16]
    stop, received = threading.Event(), signal.SIGTERM

    def save(number: int, frame: object) -> None:
        nonlocal received
        received = signal.Signals(number)
        stop.set()
        # A second Ctrl-C stops without waiting for the state to be saved.
        signal.signal(signal.SIGINT, signal.default_int_handler)

    handle_stop_signals(save)

    backend = load_backend(config.backend, cores=args.devices)
    training = TrainingRun(config, digest, shards, statistics, state, pretrained, args.log, stop.is_set, properties)
    try:
        trained = backend.train(training)
    except Interrupted as interrupted:
        print(f"train: {interrupted}", file=sys.stderr)
        raise SystemExit(128 + received) from None
    if not trained.leads:
        return
    MetricsLog(state / "metrics.jsonl").copy_to(args.output / "metrics.jsonl")
    write_weights(
        args.output / "weights.safetensors",
        trained.arrays,
        config=settings,
        statistics=statistics,
        provenance={
            "steps": config.training.steps,
            "training_seconds": round(trained.seconds, 1),
            "started_from": pretrained.trainings,
            # Of the shards trained and validated on, whatever Parquet files hold them.
            "data_sha256": json_digest(checksums),
            **provenance(*backend.packages),
            **({"gpu": backend.gpu} if backend.gpu else {}),
        },
        properties=properties.statistics if properties else None,
    )


if __name__ == "__main__":
    sys.exit(main())
