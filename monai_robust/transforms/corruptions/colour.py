"""Colours: saturation, and the strength of stains."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from monai_robust.transforms.corruptions.corruption import Corruption
from monai_robust.transforms.corruptions.draws import uniform_number
from monai_robust.transforms.corruptions.table import register_corruption

__all__ = ["SaturationDown", "SaturationUp", "StainShift"]

LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601
# Absorbance of haematoxylin, eosin and diaminobenzidine in red, green and blue: Ruifrok and Johnston 2001, Table 1
STAINS = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))


class _Saturation(Corruption):
    """grey + severity * (x - grey), grey the luminance."""

    kind = "colour"
    severity_label = "factor"
    meaning = "the factor of the colours' distance from grey"
    dimensions = (2,)
    colour = True
    random = False
    source = "Di Salvo et al. 2024 (MedMNIST-C) names it; factors are ours"
    groups = ("dermoscopy", "microscopy")

    def _corrupted(self, values: Tensor, generator: Generator) -> Tensor:
        weights = torch.tensor(LUMINANCE, dtype=values.dtype).view(3, 1, 1)
        grey = (weights * values).sum(dim=0, keepdim=True)
        return grey + self.severity * (values - grey)


@register_corruption
class SaturationUp(_Saturation):
    """Stronger colours."""

    name = "saturation_up"
    label = "More colour"
    lowest = 1.0
    highest = math.inf
    severities = (1.4, 1.8, 2.4, 3.2, 4.5)


@register_corruption
class SaturationDown(_Saturation):
    """Fainter colours."""

    name = "saturation_down"
    label = "Less colour"
    lowest = 0.0
    highest = 1.0
    severities = (0.75, 0.55, 0.35, 0.2, 0.0)


@register_corruption
class StainShift(Corruption):
    """Each of three stains made stronger or weaker by a drawn factor, from 1 - severity to 1 + severity.

    The colours are taken apart into absorbances of haematoxylin, eosin and a rest (Ruifrok and Johnston 2001).
    """

    name = "stain_shift"
    label = "Stain shift"
    kind = "colour"
    severity_label = "largest change"
    meaning = "the largest change of a stain, as a share of its strength"
    lowest = 0.0
    highest = 1.0
    severities = (0.15, 0.3, 0.45, 0.65, 0.9)
    source = "Tellez et al. 2018, who change stains so; shares are ours"
    groups = ("microscopy",)
    dimensions = (2,)
    colour = True

    def _corrupted(self, values: Tensor, generator: Generator) -> Tensor:
        stains = torch.tensor(STAINS, dtype=torch.float64)
        stains = stains / stains.norm(dim=1, keepdim=True)
        drawn = torch.tensor([uniform_number(generator, -1.0, 1.0) for _ in STAINS], dtype=torch.float64)
        drawn = drawn / drawn.abs().max().clamp_min(1e-6)  # one of them changes in full
        absorbed = -torch.log(values.double().clamp_min(1 / 255))
        amounts = torch.einsum("chw,cs->shw", absorbed, torch.linalg.inv(stains))
        amounts = amounts * (1 + self.severity * drawn).view(3, 1, 1)
        return torch.exp(-torch.einsum("shw,sc->chw", amounts, stains)).to(values)
