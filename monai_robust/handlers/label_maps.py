"""Label maps of whole volumes: written for each volume an evaluator sees, and judged on validation data."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.data import decollate_batch
from torch import Tensor

from monai_robust.data import VolumeGrid, label_map_on, write_dicom_seg, write_label_map
from monai_robust.errors import BadInputError
from monai_robust.handlers.per_image import require_answers, unanswered_row, whole_batch, write_skipped
from monai_robust.networks import apply_postprocessing, choose_postprocessing, write_postprocessing
from monai_robust.tasks import Segmentation
from monai_robust.tasks.tensors import holds_nan, plain

__all__ = ["ChoosePostprocessing", "LabelMaps"]


class LabelMaps:
    """Write the label map of every volume, with the geometry of the file it came from.

    A volume that the network answers by NaN has none and is listed as skipped; where all are so, the run is refused.

    Args:
        output_dir: gets ``<case_id>_seg.nii.gz`` for each volume, and ``<case_id>_seg.dcm`` with ``dicom_seg``.
        classes: names of the foreground classes.
        postprocessing: for each class, whether only its largest component stays.
        dicom_seg: also write DICOM SEG, for volumes that are a folder of DICOM files.
        skipped: volumes that could not be used, with ``file`` and ``reason``; they are listed in ``skipped.csv`` there.

    Raises:
        BadInputError: (when a volume comes) for ``dicom_seg`` of a volume that is no DICOM series.
    """

    def __init__(
        self,
        output_dir: str | Path,
        classes: Sequence[str],
        postprocessing: Mapping[str, bool] | None = None,
        dicom_seg: bool = False,
        skipped: Sequence[Mapping[str, str]] = (),
    ) -> None:
        self.folder = Path(output_dir)
        self.classes = list(classes)
        self.postprocessing = dict(postprocessing or {})
        self.dicom_seg = dicom_seg
        self.skipped = skipped
        self.unanswered: list[dict[str, str]] = []
        self.written: list[Path] = []

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator of whole volumes, (1, C, x, y, z), with ``image`` as ``load_volume`` gives it."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.write)
        engine.add_event_handler(Events.COMPLETED, self.tell)

    def write(self, engine: Any) -> None:
        """Write the label maps of the current batch."""
        batch, output = whole_batch(engine)
        scores = plain(output["pred"])
        images, odd = decollate_batch(batch["image"]), holds_nan(scores, len(scores)).tolist()
        for image, score, case, is_odd in zip(images, scores, batch["case_id"], odd, strict=True):
            if is_odd:  # an argmax would call it background
                self.unanswered.append(unanswered_row(case))
                continue
            grid = VolumeGrid.of_file(image)
            labels = torch.as_tensor(label_map_on(grid, score.cpu(), image.affine.cpu()))
            labels = apply_postprocessing(labels, self.postprocessing)
            path = self.folder / f"{case}_seg.nii.gz"
            self.written.append(write_label_map(labels, grid, path))
            if self.dicom_seg:
                self._write_dicom(Path(str(image.meta["filename_or_obj"])), labels, self.folder / f"{case}_seg.dcm")

    def _write_dicom(self, source: Path, labels: Tensor, path: Path) -> None:
        if source.is_file():
            raise BadInputError(f"--dicom_seg needs a DICOM series, and {source} is none; leave it out")
        self.written.append(write_dicom_seg(labels, source, self.classes, path))

    def tell(self, engine: Engine) -> None:
        """Say what was written and what could not be."""
        require_answers(len(self.written), len(self.unanswered))
        write_skipped(self.folder, [*self.skipped, *self.unanswered])
        print(f"{len(self.written)} label maps in {self.folder}")


class ChoosePostprocessing:
    """Ask validation volumes for which classes the largest component alone is better, and write the answer.

    Args:
        path: the JSON file, ``postprocessing.json`` beside the checkpoint, where inference finds it.
        classes: names of the foreground classes.
    """

    def __init__(self, path: str | Path, classes: Sequence[str]) -> None:
        self.path = Path(path)
        self.classes = list(classes)
        self._slices: dict[str, dict[int, tuple[Tensor, Tensor]]] = defaultdict(dict)

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator of slices with ``case_id`` and ``slice_index``, as ``SliceDataset`` gives them."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.COMPLETED, self.choose)

    def collect(self, engine: Any) -> None:
        """Keep the label maps of the current batch."""
        batch, output = whole_batch(engine)
        predicted, truth = Segmentation().label_maps(output["pred"], output["label"])
        for index, case in enumerate(batch["case_id"]):
            pair = (predicted[index].byte().cpu(), truth[index].byte().cpu())
            self._slices[str(case)][int(batch["slice_index"][index])] = pair

    def choose(self, engine: Engine) -> None:
        """Put the slices of each volume together, choose, and write."""
        volumes = [[slices[index] for index in sorted(slices)] for slices in self._slices.values()]
        predictions = (torch.stack([one for one, _ in volume]) for volume in volumes)
        labels = (torch.stack([one for _, one in volume]) for volume in volumes)
        choice = choose_postprocessing(predictions, labels, self.classes)
        write_postprocessing(choice, self.path)
        kept = [name for name, chosen in choice.items() if chosen]
        print(f"largest component only: {', '.join(kept) or 'for no class'} ({self.path})")
