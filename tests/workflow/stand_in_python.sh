#!/bin/sh
# Stands in for `python` where a test is about which jobs run, not what they do: makes the outputs of every stage, empty, and
# notes when training starts and ends.
stage=${2##*.}
while [ $# -gt 0 ]; do
    case $1 in
        --output) output=$2 ;;
        --shards) shards=$2 ;;
        --statistics) statistics=$2 ;;
        --check) exit 0 ;;
    esac
    shift
done
case $stage in
    benchmark | download | figures) mkdir -p "$output" && touch "$output/done" ;;
    shard) mkdir -p "$shards" && touch "$shards/done" "$statistics" ;;
    train)
        echo start >>training.txt
        # Long enough for a second training to start, if it may.
        [ -z "${STAND_IN_WAIT:-}" ] || for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
            [ "$(grep -c start training.txt)" -gt 1 ] && break
            sleep 0.1
        done
        # Or as long as somebody holds it up.
        while [ -e "${STAND_IN_HOLD:-}" ]; do sleep 0.1; done
        touch "$output/weights.safetensors" "$output/metrics.jsonl"
        echo end >>training.txt
        ;;
    *) touch "$output" ;;
esac
# A machine whose clock is wrong.
if [ -n "${STAND_IN_SKEW:-}" ]; then
    case $stage in
        shard) set -- "$shards" "$statistics" ;;
        train) set -- "$output/weights.safetensors" "$output/metrics.jsonl" ;;
        *) set -- "$output" ;;
    esac
    find "$@" -exec touch --date "$STAND_IN_SKEW" {} +
fi
