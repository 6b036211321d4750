"""Networks of ONNX files, run by onnxruntime."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from torch import Tensor

from monai_robust.errors import BadInputError, in_one_line
from monai_robust.networks.stored.base import StoredModel, existing_file, files_digest

__all__ = ["OnnxModel"]

_LOG = logging.getLogger(__name__)
_FLOATS: Mapping[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
}
_ERRORS_ONLY = 3  # of onnxruntime's log


class OnnxModel(StoredModel):
    """A network in an ONNX file: it answers images and has no gradient.

    A graph with a batch of a fixed size is run as often as it takes, its last batch filled up with copies of the last
    image. Images are given in the precision that the graph takes.

    Args:
        path: the file; weights beside it in ``<name>.data``, as PyTorch exports them, count as its part.
        device: ``"cuda"`` runs on the accelerator where onnxruntime has its CUDA provider; all else on the CPU.
        outputs: names of those outputs that are wanted, in order; all by default. The answer is a tensor where there is
            one output, and a tuple where there are several.

    Raises:
        BadInputError: without onnxruntime, or for a graph that cannot be given images alone.
    """

    def __init__(
        self, path: str | Path, device: str | torch.device = "cpu", outputs: Sequence[str] | None = None
    ) -> None:
        path = existing_file(path)
        beside = path.with_name(f"{path.name}.data")
        super().__init__(path.name, files_digest([path, *([beside] if beside.is_file() else [])]))
        self._session = _session(path, torch.device(device))
        self._input = self._only_input()
        self.dtype = self._floating()
        self.outputs = self._chosen(outputs)
        first = self._input.shape[0] if self._input.shape else None
        self.batch = first if isinstance(first, int) else None

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        """The outputs for ``images`` (B, C, *spatial), each (B, ...), on their device.

        Raises:
            BadInputError: for images that the graph does not take, or outputs that are not one for each image.
        """
        plain = images.as_tensor() if isinstance(images, MetaTensor) else images
        self._check(plain)
        given = np.ascontiguousarray(plain.detach().cpu().numpy().astype(self.dtype, copy=False))
        size = self.batch or max(len(given), 1)
        parts = [self._answers(given[start : start + size], size) for start in range(0, max(len(given), 1), size)]
        found = tuple(torch.from_numpy(np.concatenate(own)).to(plain.device) for own in zip(*parts, strict=True))
        return found[0] if len(found) == 1 else found

    def _answers(self, given: np.ndarray, size: int) -> list[np.ndarray]:
        """The outputs for ``given`` (b, C, *spatial), b up to ``size``, in a batch of that size."""
        rows = len(given)
        if rows < size:
            last = given[-1:] if rows else np.zeros((1, *given.shape[1:]), given.dtype)
            given = np.concatenate([given, np.repeat(last, size - rows, axis=0)])
        try:
            answers = self._session.run(self.outputs, {self._input.name: given})
        except Exception as error:  # onnxruntime's errors have no class in common
            raise BadInputError(
                f"{self.source} fails on images of shape {given.shape}: {in_one_line(error, 300)}"
            ) from error
        for name, answer in zip(self.outputs, answers, strict=True):
            if not answer.shape or len(answer) != len(given):
                raise BadInputError(
                    f"{self.source} answers {len(given)} images by an output {name!r} of shape {answer.shape}, which "
                    "is not one for each image; name the outputs that are, or export it with a free batch dimension"
                )
        return [answer[:rows] for answer in answers]

    def _check(self, images: Tensor) -> None:
        wanted = self._input.shape
        fits = images.is_floating_point() and images.ndim == len(wanted)
        sizes = zip(images.shape[1:], wanted[1:], strict=False)
        if not fits or any(isinstance(fixed, int) and size != fixed for size, fixed in sizes):
            free = ", ".join(str(size) if isinstance(size, int) else "any" for size in wanted)
            raise BadInputError(
                f"{self.source} takes floating images of shape ({free}), and these are {images.dtype} of shape "
                f"{tuple(images.shape)}"
            )

    def _only_input(self) -> Any:
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            names = ", ".join(repr(one.name) for one in inputs) or "none"
            raise BadInputError(
                f"{self.source} has the inputs {names}, and a network here takes images alone; call it from a Python "
                "function that gives the others, package.module:function"
            )
        return inputs[0]

    def _floating(self) -> Any:
        if self._input.type not in _FLOATS:
            raise BadInputError(
                f"{self.source} takes {self._input.type}, and images here are floating; call it from a Python function "
                "that converts them, package.module:function"
            )
        return _FLOATS[self._input.type]

    def _chosen(self, outputs: Sequence[str] | None) -> list[str]:
        has = {one.name: one.type for one in self._session.get_outputs()}
        chosen = list(has) if outputs is None else list(outputs)
        wrong = next((name for name in chosen if not has.get(name, "").startswith("tensor(")), None)
        if wrong is not None or not chosen:
            kinds = ", ".join(f"{name!r} ({kind})" for name, kind in has.items())
            what = f"{wrong!r} is no output of it" if wrong not in has else f"{wrong!r} is no tensor"
            raise BadInputError(
                f"{self.source} has the outputs {kinds}: {what if chosen else 'none is named'}; name some with "
                "outputs=[...]"
            )
        return chosen


def _session(path: Path, device: torch.device) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise BadInputError(
            f"{path} is run by onnxruntime, which is not installed; pip install 'monai-robust[onnx]'"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = _ERRORS_ONLY
    providers: list[Any] = ["CPUExecutionProvider"]
    if device.type == "cuda":
        if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            providers.insert(0, ("CUDAExecutionProvider", {"device_id": device.index or 0}))
        else:
            _LOG.warning("%s runs on the CPU: this onnxruntime has no CUDA provider (onnxruntime-gpu has)", path.name)
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime's errors have no class in common
        raise BadInputError(f"{path} cannot be read as an ONNX model: {in_one_line(error, 300)}") from error
