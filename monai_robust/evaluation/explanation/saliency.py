"""Saliency maps of a classifier by MONAI's visualize: input gradient, SmoothGrad and Grad-CAM."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from monai.visualize import GradCAM, SmoothGrad, VanillaGrad
from torch import Tensor, nn

from monai_robust.errors import BadInputError
from monai_robust.tasks import Classification, MultiLabel, Task, base_task

__all__ = ["NOISY_INPUTS", "ClassLogits", "saliency_maps"]

NOISY_INPUTS = 25


class ClassLogits(nn.Module):
    """A copy of a network that answers with logits (B, C), C at least 2, run as its task runs it.

    MONAI's visualisation leaves hooks on the network it is given, so it is given a copy.

    Args:
        network: to be copied.
        task: classification, or several findings.

    Raises:
        BadInputError: for a network that cannot be copied.
    """

    def __init__(self, network: Callable[..., Any], task: Task) -> None:
        super().__init__()
        own = base_task(task)
        if not isinstance(network, nn.Module) or isinstance(network, torch.jit.ScriptModule):
            raise BadInputError("a network that is a function, a script or a file has no layers to look into")
        if not isinstance(own, (Classification, MultiLabel)):
            raise BadInputError(f"saliency is of classes and findings, and the task is {own.name!r}")
        try:
            self.network = copy.deepcopy(network)
        except Exception as error:  # of a stranger's module
            raise BadInputError(f"the network cannot be copied to be looked into: {error}") from error
        for module in self.network.modules():
            if hasattr(module, "inplace"):
                vars(module)["inplace"] = False  # hooks and layers that write into their input do not go together
        self.task, self.own = task, own
        self.eval()

    def forward(self, inputs: Tensor) -> Tensor:
        return self.own.logits(self.task.forward(self.network, inputs, None))


def saliency_maps(network: nn.Module, image: Tensor, layer: str | None) -> tuple[int, dict[str, Tensor]]:
    """What the class that a network predicts, or the finding with the highest probability, depends on, by each method.

    Args:
        network: ``inputs -> logits``, such as :class:`ClassLogits`.
        image: (1, C, *spatial).
        layer: the module for Grad-CAM; None for no Grad-CAM.

    Returns:
        The predicted class, and maps (*spatial): ``gradient``, the absolute gradient of its logit summed over channels
        (Simonyan et al. 2014), ``smoothgrad``, the same of 25 noisy inputs, squared (Smilkov et al. 2017), and
        ``gradcam`` (Selvaraju et al. 2017), resampled to the image.
    """
    with torch.enable_grad():
        predicted = int(network(image.detach()).argmax(dim=1))
        plain = VanillaGrad(network)(image.detach().clone(), index=predicted)
        smooth = SmoothGrad(network, n_samples=NOISY_INPUTS, verbose=False)(image.detach().clone(), index=predicted)
        maps = {name: one.abs().sum(dim=1)[0] for name, one in (("gradient", plain), ("smoothgrad", smooth))}
        if layer is not None:
            hooked = copy.deepcopy(network)
            cam = GradCAM(hooked, target_layers=layer, postprocessing=lambda values: values)
            maps["gradcam"] = cam(image.detach().clone().requires_grad_(True), class_idx=predicted)[0, 0]
    return predicted, {name: one.detach().float().cpu() for name, one in maps.items()}
