#!/usr/bin/env bash
# The table of docs/results on the smallest radius of each image: ERM on images with an index.csv at 64 pixels, two seeds.
#   bash examples/image_sensitivity_results.sh DATASET_DIR OUTPUT_DIR [further options, such as --epochs 2]
set -euo pipefail
dataset=$1 output=$2
shift 2
bundle=bundles/chest_xray_classification
for seed in 0 1; do
    settings=(--bundle_root "$bundle" --dataset_dir "$dataset" --recipe erm --seed "$seed" --output_dir "$output/erm-$seed" "$@")
    python -m monai.bundle run --config_file "$bundle/configs/train.yaml" "${settings[@]}"
    python -m monai.bundle run --config_file "['$bundle/configs/train.yaml', '$bundle/configs/robustness.yaml']" \
        "${settings[@]}" --radii "[0.5]" --measurement#sanity_samples 0 --smallest_radius 4.0
done
monai-robust report "$output"/erm-*/robustness --output "$output/report.html"
