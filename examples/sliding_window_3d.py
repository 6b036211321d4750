"""A 3-D segmentation network, attacked through a sliding window over whole volumes.

    python examples/sliding_window_3d.py --dataset_dir volumes --checkpoint model.pt [--window 16] [--radii 1 4]

``dataset_dir`` holds ``imagesTr`` and ``labelsTr`` with NIfTI files of the same names, as the Medical Segmentation
Decathlon has them; where it does not exist, phantom volumes are written there. Without ``--checkpoint`` the network has
the weights that it starts with, which shows that all runs, and nothing else. To train such a network robustly, see the
tutorial on three dimensions.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.inferers import SlidingWindowInferer
from monai.networks.nets import UNet
from monai.transforms import Compose, EnsureTyped, LoadImaged, NormalizeIntensityd

from monai_robust.attacks import PGD
from monai_robust.data import write_hippocampus_phantoms
from monai_robust.evaluation import AttackSweep, CleanSweep, Measurement, write_report

PREPROCESSING = Compose(
    [
        LoadImaged(["image", "label"], ensure_channel_first=True),
        NormalizeIntensityd("image"),
        EnsureTyped("image", dtype=torch.float32),
        EnsureTyped("label", dtype=torch.long),
    ]
)


def volumes(folder: Path, limit: int) -> Dataset:
    if not folder.is_dir():
        write_hippocampus_phantoms(folder, cases=max(limit, 12))
    images = sorted((folder / "imagesTr").glob("*.nii*"))[:limit]
    items = [
        {"image": str(path), "label": str(folder / "labelsTr" / path.name), "sample_id": path.name} for path in images
    ]
    return Dataset(items, PREPROCESSING)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--dataset_dir", type=Path, default=Path("volumes"))
    options.add_argument("--checkpoint", type=Path)
    options.add_argument("--output_dir", type=Path, default=Path("measured_3d"))
    options.add_argument("--window", type=int, default=16)
    options.add_argument("--radii", type=float, nargs="+", default=[1.0, 4.0])
    options.add_argument("--steps", type=int, default=10)
    options.add_argument("--limit", type=int, default=4)
    given = options.parse_args()
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = UNet(spatial_dims=3, in_channels=1, out_channels=3, channels=(8, 16), strides=(2,), num_res_units=1)
    if given.checkpoint is not None:
        network.load_state_dict(torch.load(given.checkpoint, map_location="cpu", weights_only=True))
    evaluator = SupervisedEvaluator(
        device=device,
        val_data_loader=DataLoader(volumes(given.dataset_dir, given.limit), batch_size=1),
        network=network.to(device),
        inferer=SlidingWindowInferer((given.window,) * 3, sw_batch_size=4, overlap=0.25),
    )
    perturbations = [CleanSweep(), AttackSweep(PGD(norm="l2", steps=given.steps), radii=given.radii)]
    measurement = Measurement.of(
        evaluator, perturbations, given.output_dir, name="windows", classes=["Anterior", "Posterior"], sanity_samples=2
    )
    print(f"report: {write_report([measurement.run()], given.output_dir / 'report.html')}")


if __name__ == "__main__":
    main()
