#!/usr/bin/env bash
# The table of docs/results: ERM, AT and RTDA on covid_cxr3 at 64 pixels, one seed.
#   bash studies/pilots/chest_xray_results.sh DATASET_DIR OUTPUT_DIR SEED [further options, such as --limit 400]
# Then, for all seeds:  monai-robust report OUTPUT_DIR/*/robustness --output OUTPUT_DIR/report.html
set -euo pipefail
dataset=$1 output=$2 seed=$3
shift 3
bundle=bundles/chest_xray_classification
for recipe in erm at rtda; do
    settings=(--bundle_root "$bundle" --dataset_dir "$dataset" --groups "['source']" --recipe "$recipe" --seed "$seed"
        --output_dir "$output/$recipe-$seed" "$@")
    python -m monai.bundle run --config_file "$bundle/configs/train.yaml" "${settings[@]}" \
        --robust#attack#precision bfloat16
    python -m monai.bundle run --config_file "['$bundle/configs/train.yaml', '$bundle/configs/robustness.yaml']" \
        "${settings[@]}" --radii "[0.125, 0.25, 0.5, 1.0]" --faithful true
done
