"""What people call a perturbation and its severity, from the tables of attacks and of corruptions."""

from __future__ import annotations

from collections.abc import Iterable

from monai_robust.attacks.table import ATTACKS
from monai_robust.data.intensity import UNITS
from monai_robust.evaluation.tables.schema import CLEAN
from monai_robust.transforms.corruptions import CORRUPTIONS, CorruptionKind

__all__ = ["NORMS", "corruptions_of_kind", "perturbation_label", "severity_label", "short_label"]

NORMS = {"l2": "L2", "linf": "L∞"}


def perturbation_label(name: str) -> str:
    """What people call a perturbation: ``pgd_l2`` is PGD (L2), ``pgd_l2_hu`` PGD (L2, HU); one that no table knows
    goes by its own name."""
    for unit in UNITS.values():
        plain = perturbation_label(name.removesuffix(f"_{unit.suffix}")) if name.endswith(f"_{unit.suffix}") else ""
        if plain.endswith(")"):
            return f"{plain[:-1]}, {unit.label})"
    attack, _, norm = name.rpartition("_")
    if attack in ATTACKS and norm in NORMS:
        return f"{ATTACKS[attack].label} ({NORMS[norm]})"
    if name == CLEAN:
        return "Clean"
    return CORRUPTIONS[name].label if name in CORRUPTIONS else name


def severity_label(name: str, otherwise: str) -> str:
    """What the severity of a corruption is, such as a variance; ``otherwise`` for what is none of the table."""
    return CORRUPTIONS[name].severity_label if name in CORRUPTIONS else otherwise


def short_label(name: str) -> str:
    """The abbreviation of an attack in the papers' tables, "" where it has none."""
    attack = name.rpartition("_")[0]
    return ATTACKS[attack].short if attack in ATTACKS else ""


def corruptions_of_kind(names: Iterable[str], kind: CorruptionKind) -> list[str]:
    """Those of the names that are corruptions of a kind."""
    return [name for name in names if name in CORRUPTIONS and CORRUPTIONS[name].kind == kind]
