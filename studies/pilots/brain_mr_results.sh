#!/usr/bin/env bash
# What docs/results says of image sensitivity and of corruptions by modality: a network trained in the usual way on brain MR
# slices, searched for the smallest flipping radius of each image and corrupted, one seed.
#   bash studies/pilots/brain_mr_results.sh DATASET_DIR OUTPUT_DIR SEED
# Then, for all seeds:  python studies/pilots/image_sensitivity_table.py OUTPUT_DIR/brain_mr-*
#                       python studies/pilots/corruptions_table.py OUTPUT_DIR/brain_mr-*
# Another modality:     bash studies/pilots/brain_mr_results.sh DATASET_DIR OUTPUT_DIR SEED NAME MODALITY EPOCHS [options of evaluate]
set -euo pipefail
dataset=$1 output=$2 seed=$3 name=${4:-brain_mr} modality=${5:-mr} epochs=${6:-20}
shift $(($# < 6 ? $# : 6))
bundle=bundles/chest_xray_classification

python -m monai.bundle run --config_file "$bundle/configs/train.yaml" --bundle_root "$bundle" --dataset_dir "$dataset" \
    --recipe erm --epochs "$epochs" --seed "$seed" --output_dir "$output/trained-$name-$seed"
monai-robust evaluate "$bundle" --checkpoint "$output/trained-$name-$seed/model.pt" --dataset_dir "$dataset" \
    --output_dir "$output/$name-$seed" --seed "$seed" --radii "[0.25]" --attack_steps 10 --measurement#sanity_samples 0 \
    --smallest_radius 1.0 --corruptions "$modality" --limit 80 --validation_limit 40 "$@"
