"""The one table of attacks: what each is called in tables and in words, and what kind it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from monai_robust.attacks.apgd import APGD
from monai_robust.attacks.attack import Attack
from monai_robust.attacks.ensemble import AttackEnsemble
from monai_robust.attacks.fmn import FMN
from monai_robust.attacks.square import Square
from monai_robust.attacks.steps import BIM, FGSM, PGD
from monai_robust.attacks.windows import WindowAttack

__all__ = ["ATTACKS", "AttackKind", "AttackRow", "attack_kind", "attack_name", "follows_gradients"]

AttackKind = Literal["white-box", "black-box", "ensemble", "search"]
"""``white-box`` attacks follow the network's gradient, ``black-box`` ones only ask for its answers, an ``ensemble`` is
made of several, and a ``search`` looks for the nearest success."""


@dataclass(frozen=True)
class AttackRow:
    """What is known of an attack by name.

    Attributes:
        label: what people call it, such as ``PGD``.
        kind: see :data:`AttackKind`.
        made_by: its class; None for a name that comes from elsewhere.
        short: its abbreviation in the tables of the AMAT paper, "" if it has none.
        severity: what its radius is called in a picture's title.
    """

    label: str
    kind: AttackKind
    made_by: type | None = None
    short: str = ""
    severity: str = "radius"


ATTACKS: Mapping[str, AttackRow] = {
    "fgsm": AttackRow("FGSM", "white-box", FGSM),
    "bim": AttackRow("BIM", "white-box", BIM, short="IF."),
    "ifgsm": AttackRow("IFGSM", "white-box", short="IF."),
    "pgd": AttackRow("PGD", "white-box", PGD, short="P."),
    "apgd": AttackRow("APGD", "white-box", APGD),
    "fmn": AttackRow("FMN", "white-box", FMN),
    "square": AttackRow("Square", "black-box", Square),
    "windowattack": AttackRow("Attack on windows", "white-box", WindowAttack),
    "strong": AttackRow("Strong attack", "ensemble", AttackEnsemble),
    "nearest": AttackRow("Nearest change", "search", severity="within radius"),
}
"""By the name in outcomes tables, where the norm follows it, as in ``pgd_l2``."""


def attack_name(attack: Any) -> str:
    """What an outcomes table calls an attack, before its norm; one that is not listed goes by the name of its class."""
    listed = (name for name, row in ATTACKS.items() if row.made_by is type(attack))
    return next(listed, "strong" if isinstance(attack, AttackEnsemble) else type(attack).__name__.lower())


def attack_kind(attack: Any) -> AttackKind:
    """The kind of an attack, also of one whose class is derived from a listed one; others follow gradients."""
    kinds = (row.kind for row in ATTACKS.values() if row.made_by is not None and isinstance(attack, row.made_by))
    return next(kinds, "white-box")


def follows_gradients(attack: Any) -> bool:
    """Whether an attack, the one on each window, or any member of an ensemble asks a network for gradients; of a
    callable that is no :class:`Attack` that is not known, and it is taken not to."""
    if isinstance(attack, WindowAttack):
        return follows_gradients(attack.attack)
    if isinstance(attack, AttackEnsemble):
        return any(map(follows_gradients, attack.members))
    return isinstance(attack, Attack) and attack_kind(attack) != "black-box"
