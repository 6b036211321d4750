#!/usr/bin/env bash
# The table of docs/results on the overlay `fast`: SAT with 20 attack steps, and with few, with and without kept starts, on
# covid_cxr3 at 64 pixels, one seed.
#   bash studies/pilots/fast_training_results.sh DATASET_DIR OUTPUT_DIR SEED [further options, such as --epochs 2]
# Then, for all seeds:  python studies/pilots/fast_training_table.py OUTPUT_DIR
set -euo pipefail
dataset=$1 output=$2 seed=$3
shift 3
bundle=bundles/chest_xray_classification fast=$(monai-robust overlay fast)
options=("$@")

arm() { # NAME STEPS [a further configuration file]
    local name=$1 steps=$2 train="'$bundle/configs/train.yaml'" own="'studies/pilots/fast_training.yaml'"
    local settings=(--bundle_root "$bundle" --dataset_dir "$dataset" --recipe sat --seed "$seed" --epochs 10
        --output_dir "$output/$name-$seed" --robust#attack#eps 1.0 --robust#attack#steps "$steps" "${options[@]}")
    python -m monai.bundle run --config_file "[$train, $own${3:+, '$3'}]" "${settings[@]}"
    python -m monai.bundle run --config_file "[$train, '$bundle/configs/robustness.yaml', $own]" \
        "${settings[@]}" --name "$name"
}

arm sat20 20
for steps in 1 2 3; do
    arm "plain$steps" "$steps"
    arm "kept$steps" "$steps" "$fast"
done
