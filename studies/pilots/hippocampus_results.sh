#!/usr/bin/env bash
# The table of docs/results: STD, SAT at two radii, AMAT and its controls on Decathlon hippocampus volumes, one seed.
#   bash studies/pilots/hippocampus_results.sh DATASET_DIR OUTPUT_DIR SEED [STEP]
# Then, for all seeds:  monai-robust report OUTPUT_DIR/*/test --output OUTPUT_DIR/report.html
# The step was chosen once, with seed 0 and 20 attack steps, by
#   monai-robust step-search bundles/hippocampus_mri_segmentation --steps 1,2,4 --output_dir steps \
#       --dataset_dir DATASET_DIR --robust#thresholds OUTPUT_DIR/std-0/model.pt --slices foreground --attack_steps 20
set -euo pipefail
dataset=$1 output=$2 seed=$3 step=${4:-4.0}
bundle=bundles/hippocampus_mri_segmentation

arm() { # FOLDER NAME [options of the training]
    local folder=$output/$1-$seed name=$2
    shift 2
    local settings=(--bundle_root "$bundle" --dataset_dir "$dataset" --seed "$seed" --output_dir "$folder")
    python -m monai.bundle run --config_file "$bundle/configs/train.yaml" "${settings[@]}" "$@"
    python -m monai.bundle run --config_file "['$bundle/configs/train.yaml', '$bundle/configs/robustness.yaml']" \
        "${settings[@]}" --name "$name" --limit 6 --evaluation_dir "$folder/test" \
        --pgd "\$robust_attacks.paper_attack('amat-pgd', precision='bfloat16')"
}

arm std "STD" --recipe erm
arm sat2 "SAT 2" --recipe sat --robust#attack#eps 2.0
arm sat6 "SAT 6" --recipe sat --robust#attack#eps 6.0
amat=(--recipe amat --robust#step "$step" --robust#thresholds "$output/std-$seed/model.pt")
arm amat "AMAT" "${amat[@]}"
arm paper "AMAT, paper mode" "${amat[@]}" --robust#margins#mode paper
arm floor "AMAT, floor 0.5" "${amat[@]}" --robust#margins#floor 0.5
# The controls of that arm: its mean margin on slices with foreground, and its margins shuffled within groups of slices.
floor_history=$output/floor-$seed/margins_by_sample.csv
level=$(python studies/pilots/mean_foreground_margin.py "$floor_history" "$dataset")
arm level "SAT at the mean foreground margin" --recipe sat --robust#attack#eps "$level"
arm shuffled_within "AMAT, floor 0.5, shuffled within groups" --recipe sat --robust#margins \
    "{'_target_': 'monai_robust.handlers.RecordedMargins', 'path': '$floor_history', 'shuffle': True, 'groups': \
\"\${one['sample_id']: bool(one['foreground']) for one in @train#dataset.items}\", '_disabled_': False}"
arm loose "AMAT, looser thresholds" "${amat[@]}" --robust#margins#fit "{'statistic': 'mean_std', 'k': 1.0}"
history=$output/amat-$seed/margins_by_sample.csv
arm shuffled "AMAT, shuffled" --recipe sat --robust#margins \
    "{'_target_': 'monai_robust.handlers.RecordedMargins', 'path': '$history', 'shuffle': True, '_disabled_': False}"
mean=$(tail -1 "$output/amat-$seed/margins.csv" | cut -d, -f4)
arm warmup "SAT at the mean margin, warm-up" --recipe sat --robust#margins \
    "{'_target_': 'monai_robust.handlers.WarmupRadius', 'eps': $mean, 'epochs': 6, '_disabled_': False}"
