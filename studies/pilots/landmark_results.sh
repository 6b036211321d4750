#!/usr/bin/env bash
# The table of docs/results on cephalometric landmarks: STD with two heatmap losses, SAT at two radii, AMAT; one seed.
#   bash studies/pilots/landmark_results.sh DATASET_DIR OUTPUT_DIR SEED
# Then, for all seeds:  monai-robust report OUTPUT_DIR/*/test --output OUTPUT_DIR/report.html
set -euo pipefail
dataset=$1 output=$2 seed=$3
bundle=bundles/cephalometric_landmarks

arm() { # FOLDER NAME [options of the training]
    local folder=$output/$1-$seed name=$2
    shift 2
    local settings=(--bundle_root "$bundle" --dataset_dir "$dataset" --seed "$seed" --output_dir "$folder" --radii "[0.25, 0.5, 1.0]")
    python -m monai.bundle run --config_file "$bundle/configs/train.yaml" "${settings[@]}" --epochs 20 --robust#attack#steps 3 "$@"
    python -m monai.bundle run --config_file "['$bundle/configs/train.yaml', '$bundle/configs/robustness.yaml']" \
        "${settings[@]}" --name "$name" --limit 40 --attack_steps 30 --evaluation_dir "$folder/test" "${like[@]}" \
        --pgd "\$robust_attacks.paper_attack('amat-pgd', steps=@attack_steps, bounds=[0.0, 1.0], precision='bfloat16')"
}

like=()
arm erm "STD (BCE)" --recipe erm
arm sat50 "SAT 0.5" --recipe sat --robust#attack#eps 0.5
arm amat "AMAT" --recipe amat --robust#step 0.15 --robust#thresholds "$output/erm-$seed/model.pt"
arm sat25 "SAT 0.25" --recipe sat --robust#attack#eps 0.25
like=(--heatmap dice)
arm dice "STD (Dice)" --recipe erm --heatmap dice
