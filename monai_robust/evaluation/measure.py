"""The first room of an evaluation: run a network on every sample under every perturbation, and write what happened."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import DataLoader
from torch import Tensor, nn
from torch.utils.data import Dataset, Subset
from tqdm import tqdm

from monai_robust.attacks.guard import untouched
from monai_robust.attacks.threat import L2, as_norm
from monai_robust.errors import BadInputError
from monai_robust.evaluation.gallery import write_gallery
from monai_robust.evaluation.perturbations import Sweep
from monai_robust.evaluation.run import write_run_info
from monai_robust.evaluation.table import OutcomesWriter, outcome_columns
from monai_robust.tasks import Task
from monai_robust.tasks.tensors import plain

__all__ = ["Measurement"]


class Measurement:
    """Measure a network into a folder: ``outcomes.csv``, ``run.json`` and a few pictures in ``gallery.npz``.

    The table is written as the work goes, batch by batch. A stopped measurement that is started again with the same
    arguments continues where it stopped and ends with the identical table; with others it is refused.

    Args:
        network: in the state that is to be measured; it is evaluated in evaluation mode.
        dataset: items with ``image`` (C, *spatial), ``label``, ``sample_id`` and ``patient_id``.
        task: what the network does, and what is worth writing down of it.
        perturbations: what is done to the inputs.
        output_dir: the folder.
        name: of the run in figures and tables; runs of one name are replicates (seeds, folds).
        classes: names of the classes, in the order of the outputs.
        groups: item keys to report within, such as ``source``.
        checkpoint: the file the weights came from, for the record.
        record: settings of the training run, for the record.
        batch_size: samples in one forward pass.
        num_workers: worker processes that load samples.
        seed: of random starts and of noise.
        device: where the network runs.
        progress: show a bar with the remaining time.

    Raises:
        BadInputError: for a data set without what the table needs, or a folder that holds another measurement.
    """

    def __init__(
        self,
        network: nn.Module,
        dataset: Dataset[Any],
        *,
        task: Task,
        perturbations: Sequence[Sweep],
        output_dir: str | Path,
        name: str,
        classes: Sequence[str],
        groups: Sequence[str] = (),
        checkpoint: str | Path | None = None,
        record: Mapping[str, Any] | None = None,
        batch_size: int = 32,
        num_workers: int = 0,
        seed: int = 0,
        device: str | torch.device = "cpu",
        progress: bool = True,
    ) -> None:
        names = [sweep.name for sweep in perturbations]
        if len(set(names)) != len(names):
            raise BadInputError(f"two perturbations have the same name among {', '.join(names)}; give one another name")
        self.network = network.to(device)
        self.dataset = dataset
        self.task = task
        self.perturbations = list(perturbations)
        self.folder = Path(output_dir)
        self.name = name
        self.classes = list(classes)
        self.groups = list(groups)
        self.checkpoint = checkpoint
        self.record = dict(record or {})
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.seed = seed
        self.device = torch.device(device)
        self.progress = progress

    def run(self) -> Path:
        """Measure what is not measured yet.

        Returns:
            The folder.
        """
        loader = DataLoader(self.dataset, batch_size=self.batch_size, num_workers=self.num_workers, shuffle=False)
        items = getattr(self.dataset, "items", None) or [self.dataset[i] for i in range(len(self.dataset))]  # type: ignore[arg-type]
        self._check(items)
        sample_ids = [str(item["sample_id"]) for item in items]
        self.folder.mkdir(parents=True, exist_ok=True)
        about = self._about(items)
        self._claim(about)
        with untouched(self.network):
            table = self.folder / "outcomes.csv"
            with OutcomesWriter(table, self._columns(), sample_ids, self.batch_size) as writer:
                self._measure(loader, writer, len(sample_ids))
            self._gallery(items)
        write_run_info(self.folder, {**about, "finished": _now()})
        return self.folder

    def _check(self, items: Sequence[Mapping[str, Any]]) -> None:
        if not items:
            raise BadInputError("the data set to measure on is empty")
        for key in ("image", "label", "sample_id", "patient_id", *self.groups):
            if key not in items[0]:
                raise BadInputError(f"the data set's items have no {key!r}; they have {', '.join(map(str, items[0]))}")

    def _columns(self) -> list[str]:
        inputs = torch.zeros(1, len(self.classes), device="cpu")
        task_columns = self.task.outcomes(inputs, torch.zeros(1, dtype=torch.long))
        return outcome_columns(task_columns, self.groups)

    def _measure(self, loader: DataLoader, writer: OutcomesWriter, samples: int) -> None:
        pairs = [(sweep, severity) for sweep in self.perturbations for severity in sweep]
        bar = tqdm(total=samples * len(pairs), desc=f"measuring {self.name}", unit="image", disable=not self.progress)
        with bar:
            for sweep, severity in pairs:
                done = writer.done(sweep.name, severity)
                bar.update(done)
                if done == samples:
                    continue
                bar.set_postfix({"perturbation": f"{sweep.name} {severity:g}"}, refresh=False)
                for index, batch in enumerate(loader):
                    if index * self.batch_size < done:
                        continue
                    writer.append(sweep.name, severity, self._rows(sweep, severity, batch))
                    bar.update(len(batch["sample_id"]))

    def _rows(self, sweep: Sweep, severity: float, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        inputs, perturbed, outcomes = self._perturbed(sweep, severity, batch)
        rows: dict[str, list[Any]] = {
            "sample_id": [str(identifier) for identifier in batch["sample_id"]],
            "patient_id": [str(identifier) for identifier in batch["patient_id"]],
            "norm": [sweep.norm] * len(inputs),
        }
        rows |= {group: [str(plain(value)) for value in batch[group]] for group in self.groups}
        rows["distance"] = as_norm(sweep.norm or "l2").size(perturbed - inputs).tolist()
        rows["contrast"] = perturbed.flatten(1).double().std(dim=1, correction=0).tolist()
        rows["input_norm"] = L2().size(inputs).tolist()
        rows |= {name: column.tolist() for name, column in outcomes.items()}
        return rows

    def _perturbed(
        self, sweep: Sweep, severity: float, batch: Mapping[str, Any]
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """A batch's inputs, the same perturbed, and what the network makes of those."""
        inputs = plain(batch["image"]).to(self.device)
        targets = plain(batch["label"]).to(self.device)
        sample_ids = [str(identifier) for identifier in batch["sample_id"]]
        perturbed = sweep.apply(
            severity, self.network, inputs, targets, task=self.task, sample_ids=sample_ids, seed=self.seed
        )
        with torch.no_grad():
            outcomes = self.task.outcomes(self.task.forward(self.network, perturbed, targets), targets)
        return inputs, perturbed, outcomes

    def _about(self, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        labels = [int(item["label"]) for item in items]
        return {
            "name": self.name,
            "task": self.task.name,
            "recipe": self.record.get("recipe"),
            "seed": self.record.get("seed", self.seed),
            "fold": self.record.get("fold"),
            "classes": self.classes,
            "perturbations": [sweep.describe() for sweep in self.perturbations],
            "score": {"name": self.task.score_name, "higher_is_better": self.task.higher_is_better},
            "groups": self.groups,
            "settings": {**self.record, "batch_size": self.batch_size, "evaluation_seed": self.seed},
            "versions": {name: version(name) for name in ("monai", "torch", "pytorch-ignite", "numpy", "monai-robust")},
            "checkpoint": self._checkpoint(),
            "weights_sha256": _digest(self.network),
            "data": {
                "samples": len(items),
                "patients": len({str(item["patient_id"]) for item in items}),
                "classes": {name: labels.count(index) for index, name in enumerate(self.classes)},
            },
            "skipped": [{"file": bad["file"], "reason": bad["reason"]} for bad in getattr(self.dataset, "skipped", [])],
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, {self.device.type}",
            "started": _now(),
            "finished": None,
        }

    def _checkpoint(self) -> dict[str, str] | None:
        if self.checkpoint is None:
            return None
        path = Path(self.checkpoint)
        if not path.is_file():
            raise BadInputError(f"there is no checkpoint {path}; name the file that the network's weights came from")
        return {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}

    def _claim(self, about: dict[str, Any]) -> None:
        """Write ``run.json``, or go on with the one that is there if it is about the same measurement."""
        path = self.folder / "run.json"
        if path.is_file():
            try:
                before = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise BadInputError(f"{path} is damaged ({error}); measure into another folder") from error
            now = json.loads(json.dumps(about))
            ignored = {"started", "finished", "machine", "versions", "checkpoint"}
            changed = [key for key in now if key not in ignored and before.get(key) != now[key]]
            if changed:
                raise BadInputError(
                    f"{self.folder} holds another measurement (other {', '.join(changed)}); measure into another folder"
                )
            about["started"] = before["started"]
        elif (self.folder / "outcomes.csv").exists():
            raise BadInputError(f"{self.folder} holds an outcomes.csv without run.json; measure into another folder")
        else:
            write_run_info(self.folder, about)

    def _gallery(self, items: Sequence[Mapping[str, Any]]) -> None:
        """Pictures of the first sample of each class, clean and at the middle severity of every perturbation."""
        chosen = [next((i for i, item in enumerate(items) if int(item["label"]) == c), None) for c in range(4)]
        indices = [index for index in chosen if index is not None]
        subset = Subset(self.dataset, indices)
        batch = next(iter(DataLoader(subset, batch_size=len(indices), shuffle=False)))
        if batch["image"].ndim != 4:
            return  # volumes get pictures from their own task
        pictures: dict[tuple[str, float], np.ndarray] = {}
        captions: dict[tuple[str, float], list[dict[str, Any]]] = {}
        for sweep in self.perturbations:
            severity = sweep.severities[len(sweep.severities) // 2]
            _, shown, outcomes = self._perturbed(sweep, severity, batch)
            pictures[sweep.name, severity] = shown.mean(dim=1).cpu().numpy()
            captions[sweep.name, severity] = self._captions(outcomes)
        write_gallery(self.folder / "gallery.npz", pictures, captions)

    def _captions(self, outcomes: Mapping[str, Tensor]) -> list[dict[str, Any]]:
        captions = []
        for index in range(len(outcomes["label"])):
            prediction = int(outcomes["prediction"][index])
            captions.append(
                {
                    "label": self.classes[int(outcomes["label"][index])],
                    "prediction": self.classes[prediction],
                    "confidence": float(outcomes[f"probability_{prediction}"][index]),
                }
            )
        return captions


def _digest(network: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
