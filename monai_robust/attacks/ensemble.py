"""Several attacks after each other, each on the samples that the ones before have not broken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from monai_robust.attacks.apgd import APGD
from monai_robust.attacks.gradient import GradientAttack, Precision
from monai_robust.attacks.guard import Mode
from monai_robust.attacks.multi_label import MultiLabel
from monai_robust.attacks.objectives import Objective
from monai_robust.attacks.samples import Samples
from monai_robust.attacks.square import Square
from monai_robust.attacks.threat import BoundsSpec, Norm
from monai_robust.attacks.worst_search import Worst, WorstSearch
from monai_robust.errors import BadInputError, require_choice
from monai_robust.tasks import Task

__all__ = ["STRONG_ATTACKS", "AttackEnsemble", "strong_attack"]

STRONG_ATTACKS = ("classification", "multi_label")


class AttackEnsemble(WorstSearch):
    """The worst that several attacks find for each sample (Croce and Hein 2020, section 5).

    A sample that is wrong as it is stays as it is, and one that a member has broken is handed to no other; success is
    judged here once more, in the network's own precision. Where a task knows no success, each member attacks all
    samples, and the highest of the task's own loss is kept.

    Args:
        members: attacks of one norm, with the same bounds and goal.
        eps: radius, which the members need not have; may be given with each call instead.
        task: what to hurt; classification by default.
        eot: forward passes by which success is judged, more than half of which must agree, for random networks.

    Raises:
        BadInputError: without members, or for members of different threats.
    """

    def __init__(
        self,
        members: Sequence[GradientAttack],
        *,
        eps: float | Tensor | None = None,
        task: Task | None = None,
        eot: int = 1,
    ) -> None:
        if not members:
            raise BadInputError("the ensemble has no members; give it at least one attack")
        first = members[0]
        super().__init__(
            norm=first.norm, eps=eps, bounds=first.bounds.bounds, goal=first.goal, mode=first.mode, task=task, eot=eot
        )
        for member in members[1:]:
            for name in ("norm", "bounds", "goal", "mode"):
                given, wanted = member.settings()[name], first.settings()[name]
                if given != wanted:
                    raise BadInputError(
                        f"the ensemble's {type(member).__name__} has {name} {given!r} and its first member {wanted!r}; "
                        "all must have the same"
                    )
        self.members = tuple(members)

    def settings(self) -> dict[str, Any]:
        """The attack's numbers as primitives, for tables and reports."""
        own = super().settings()
        shared = {name: own[name] for name in ("attack", "norm", "bounds", "goal", "mode", "eot")}
        return {**shared, "members": [member.settings() for member in self.members]}

    def _search(self, network: Callable[..., Any], samples: Samples, task: Task) -> Tensor:
        aimed, _ = self._aim(network, samples.clean, samples.targets, task)
        samples = replace(samples, targets={"given": samples.targets, "aimed": aimed})
        worst = Worst(samples.clean)
        self._judge(network, samples, samples.clean, task, worst)
        for member in self.members:
            standing = samples.at(~worst.won)
            if not len(standing.rows):
                break
            points = member(
                network,
                standing.clean,
                standing.targets["given"],
                standing.eps,
                task=task,
                generator=standing.generator,
                mask=standing.inside,
            )
            self._judge(network, standing, points, task, worst)
        return worst.adversarial

    def _judge(self, network: Callable[..., Any], samples: Samples, points: Tensor, task: Task, worst: Worst) -> None:
        objective = Objective(task, None, self.goal)
        prepared = objective.prepared(samples.clean, samples.targets["aimed"])
        loss, won, _ = self._look(network, points, objective, prepared)
        worst.offer(samples.rows, points, loss, won)


def strong_attack(
    name: str = "classification",
    *,
    norm: str | Norm = "l2",
    eps: float | Tensor | None = None,
    bounds: BoundsSpec = None,
    steps: int = 100,
    queries: int = 5000,
    restarts: int = 1,
    classes: int = 9,
    eot: int = 1,
    task: Task | None = None,
    mode: Mode = "eval",
    precision: Precision | None = None,
) -> AttackEnsemble:
    """The strong attack on a kind of task, without anything to be tuned.

    ``"classification"``: APGD on cross-entropy, on the difference of logits ratio (the margin of two classes) and
    towards each of the most likely wrong classes, then Square. ``"multi_label"``: APGD on binary cross-entropy and on
    the margin, then Square. Every member leaves a sample at its first success, and APGD starts at random.

    Args:
        name: ``"classification"`` or ``"multi_label"``, whose task is ``MultiLabel()`` unless another is given.
        norm, eps, bounds, task, mode, precision: as for :class:`GradientAttack`.
        steps, restarts, classes: as for :class:`APGD`.
        queries: as for :class:`Square`.
        eot: as for :class:`WorstSearch`.

    Raises:
        BadInputError: for a name that there is not, or an argument that cannot work.
    """
    require_choice("the strong attack", name, STRONG_ATTACKS)
    shared: dict[str, Any] = {"norm": norm, "bounds": bounds, "mode": mode, "precision": precision}
    shared |= {"eot": eot, "stop_at_success": True}
    climbing = {**shared, "steps": steps, "restarts": restarts, "random_start": "sphere"}
    if name == "multi_label":
        losses: tuple[str, ...] = ("bce", "margin")
        task = MultiLabel() if task is None else task
    else:
        losses = ("ce", "dlr", "targeted_dlr")
    members: list[GradientAttack] = [APGD(loss=loss, classes=classes, **climbing) for loss in losses]
    return AttackEnsemble([*members, Square(loss="margin", queries=queries, **shared)], eps=eps, task=task, eot=eot)
