"""The attacks of the papers, by name."""

from __future__ import annotations

from typing import Any

from monai_robust.attacks.steps import BIM, FGSM, PGD, GradientAttack
from monai_robust.errors import BadInputError

__all__ = ["PAPER_ATTACKS", "paper_attack"]

_RTDA_TRAIN = {"norm": "l2", "steps": 7, "relative_step": 2.5}
_RTDA_EVALUATION = {"norm": "l2", "steps": 20, "relative_step": 2.5}
_AMAT_TRAIN = {"norm": "l2", "steps": 20, "random_start": "sphere"}
_ONCOLOGY = {"norm": "linf", "bounds": (0.0, 1.0)}
_COMPLEXITY = {"norm": "linf", "goal": "least_likely", "bounds": (0.0, 1.0)}

PAPER_ATTACKS: dict[str, tuple[type[GradientAttack], dict[str, Any]]] = {
    # rtda, section 4.2; the step of 2.5 * eps / steps is that of the toolbox it used.
    "rtda-xray-training": (PGD, {**_RTDA_TRAIN, "eps": 2.0}),
    "rtda-mammogram-training": (PGD, {**_RTDA_TRAIN, "eps": 0.15}),
    "rtda-pocus-training": (PGD, {**_RTDA_TRAIN, "eps": 0.3}),
    "rtda-evaluation": (PGD, _RTDA_EVALUATION),
    # robustaugmix-xray, sections III and III.A (evaluated at radii 1 to 5).
    "robustaugmix-training": (PGD, {**_RTDA_TRAIN, "eps": 4.0}),
    "robustaugmix-evaluation": (PGD, _RTDA_EVALUATION),
    # oncology-stability, Table S1 (attacks, in "the input space ([0, 1] for pixel values)") and Table S4 (training: 7
    # steps of eps / 4, one random start).
    "oncology-fgsm": (FGSM, _ONCOLOGY),
    "oncology-bim": (BIM, {**_ONCOLOGY, "steps": 10, "relative_step": 1.0}),
    "oncology-pgd": (PGD, {**_ONCOLOGY, "steps": 10, "relative_step": 2.5}),
    "oncology-training": (PGD, {**_ONCOLOGY, "steps": 7, "relative_step": 7 / 4, "random_start": "ball"}),
    # model-complexity, "Generating adversarial examples": least likely class, 20 steps of eps / 10 from a random start,
    # images "normalized between 0 and 1". That its radii from 0.01 to 10 are in units of 1/255 is inferred: only those
    # of training are printed so.
    "model-complexity-fgsm": (FGSM, _COMPLEXITY),
    "model-complexity-pgd": (PGD, {**_COMPLEXITY, "steps": 20, "relative_step": 2.0, "random_start": "ball"}),
    # amat, sections 3.3 to 3.7: 100-PGD and 10-IFGSM, all in L2. Step sizes and starts are printed nowhere; these are
    # the released program's. Its IFGSM for segmentation can travel only half the radius.
    "amat-segmentation-training": (PGD, {**_AMAT_TRAIN, "relative_step": 4.0}),
    "amat-training": (PGD, {**_AMAT_TRAIN, "relative_step": 5.0}),
    "amat-pgd": (PGD, {"norm": "l2", "steps": 100, "relative_step": 5.0, "random_start": "ball"}),
    "amat-segmentation-ifgsm": (BIM, {"norm": "l2", "steps": 10, "relative_step": 0.5}),
    "amat-ifgsm": (BIM, {"norm": "l2", "steps": 10, "relative_step": 5.0}),
}
"""The attacks of the papers by name, as a class and its keywords; :func:`paper_attack` makes one."""


def paper_attack(name: str, **changes: Any) -> GradientAttack:
    """The attack a paper used, by name, with keywords (``eps``, ``bounds``, ``task`` ...) changed or added.

    Raises:
        BadInputError: when no paper attack has that name.
    """
    if name not in PAPER_ATTACKS:
        raise BadInputError(f"there is no paper attack {name!r}; there are {', '.join(PAPER_ATTACKS)}")
    kind, keywords = PAPER_ATTACKS[name]
    return kind(**{**keywords, **changes})
