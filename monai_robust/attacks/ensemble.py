"""Several attacks after each other, each on the samples that the ones before have not broken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from monai_robust.attacks.attack import Attack
from monai_robust.attacks.common.arguments import checked_attack
from monai_robust.attacks.common.draws import replayed
from monai_robust.attacks.common.objective import Objective
from monai_robust.attacks.common.samples import Generators, Samples
from monai_robust.attacks.common.worst_case import WorstCase, WorstCaseAttack
from monai_robust.errors import BadInputError, naming
from monai_robust.networks.fast_form import fast_form, gradients_by
from monai_robust.tasks import Task, Watched, base_task

__all__ = ["AttackEnsemble"]

# Steps of all members together that are worth the passes in which a faster form is made.
_TRIED = 2  # samples on which a faster form is compared with its network
_WORTH = 50


class AttackEnsemble(WorstCaseAttack):
    """The worst that several attacks find for each sample (Croce and Hein 2020, section 5).

    A sample that is wrong as it is stays as it is, and one that a member has broken is handed to no other; success is
    judged here once more, by the network itself in its own precision. Where members have many steps, they attack a
    faster form of it (:class:`~monai_robust.networks.fast_form.FastForm`). Where a task knows no success, each member
    attacks all samples, and ``keep`` says which point is the worst: the one of the highest of the task's own loss, or
    of the worst score.

    Given a generator, each member draws from it as if it were alone. Where members differ in their goals, all are
    judged like untargeted ones, by success and score; one whose goal the network does not have (another class, where
    there is only one) is left out.

    Args:
        members: attacks of one norm, with the same bounds.
        eps: radius, which the members need not have; may be given with each call instead.
        task: what to hurt; classification by default.
        eot: forward passes by which success is judged, more than half of which must agree, for random networks; scores
            and losses are means over them.
        keep: ``"loss"`` or ``"score"``, see :class:`WorstCaseAttack`.

    Raises:
        BadInputError: without members, for one that is no attack, or for members of different threats.
    """

    def __init__(
        self,
        members: Sequence[Attack],
        *,
        eps: float | Tensor | None = None,
        task: Task | None = None,
        eot: int = 1,
        keep: Literal["loss", "score"] = "loss",
    ) -> None:
        if not isinstance(members, Sequence) or isinstance(members, str):
            raise BadInputError(f"the ensemble's members are a {type(members).__name__}; give a list of attacks")
        for member in members:
            checked_attack(member)
            if not isinstance(member, Attack):
                raise BadInputError(
                    f"a member of the ensemble is a {type(member).__name__}, which is no attack of whole images by "
                    "monai_robust; make the ensemble of attacks such as PGD(), and where images are large a "
                    "WindowAttack of it"
                )
        if not members:
            raise BadInputError("the ensemble has no members; give it at least one attack")
        first = members[0]
        goals = {member.goal for member in members}
        super().__init__(
            norm=first.norm,
            eps=eps,
            bounds=first.bounds.bounds,
            goal=first.goal if len(goals) == 1 else "untargeted",
            mode=first.mode,
            channels=first.channels,
            task=task,
            eot=eot,
            keep=keep,
        )
        for member in members[1:]:
            for name in ("norm", "bounds", "mode", "channels"):
                given, wanted = member.settings().get(name), first.settings().get(name)
                if given != wanted:
                    raise BadInputError(
                        f"the ensemble's {type(member).__name__} has {name} {given!r} and its first member {wanted!r}; "
                        "all must have the same"
                    )
        self.members = tuple(members)

    @property
    def budget(self) -> int:
        """Gradient steps and queries of all members."""
        return sum(member.budget for member in self.members)

    def settings(self) -> dict[str, Any]:
        """The attack's numbers as primitives, for tables and reports."""
        numbers = super().settings()
        shared = {name: numbers[name] for name in ("attack", "norm", "bounds", "goal", "mode", "eot", "keep")}
        return {**shared, "members": [member.settings() for member in self.members]}

    def _search(self, network: Callable[..., Any], samples: Samples, task: Task) -> Tensor:
        samples = self._aimed(network, samples, task)
        worst = WorstCase(samples.clean)
        clean = self._judge(network, samples, samples.clean, task, worst)
        fast = self._fast(network, samples, task)
        for member in self.members:
            standing = samples.at(~worst.success)
            if not len(standing.rows):
                break
            if not base_task(task).offers(member.goal, clean):
                continue
            with naming(standing.rows), gradients_by(fast, network):
                points = member(
                    network,
                    standing.clean,
                    standing.targets["true"],
                    standing.eps,
                    task=task,
                    generator=replayed(standing.generator),
                    mask=standing.inside,
                )
            self._judge(network, standing, points, task, worst)
        _move_on(samples.generator)
        return worst.points

    def _fast(self, network: Callable[..., Any], samples: Samples, task: Task) -> Callable[..., Any]:
        """What members take gradients of: the network, in a faster form where it has one and there are enough steps to
        pay for it.

        A random network has none, and a training that watches its attack wants to see all that is run.
        """
        if self.eot > 1 or isinstance(task, Watched) or self.budget < _WORTH:
            return network
        few = samples.take(torch.arange(min(_TRIED, len(samples.rows)), device=samples.rows.device))
        return fast_form(network, lambda form, points: task.forward(form, points, few.targets["true"]), few.clean)

    def _judge(
        self, network: Callable[..., Any], samples: Samples, points: Tensor, task: Task, worst: WorstCase
    ) -> Any:
        """Offer ``points`` to ``worst``; return the network's outputs for them."""
        objective: Objective = self._objective(task, None)
        prepared = self._prepared(objective, samples)
        worst.update(samples.rows, points, self._judged(network, samples, points, objective, prepared))
        return objective.outputs


def _move_on(generator: Generators) -> None:
    """Have the caller's generators draw anew from now on: members have only drawn from their twins."""
    if generator is None:
        return
    for one in generator if isinstance(generator, Sequence) else [generator]:
        one.manual_seed(int(torch.randint(2**62, (), generator=one, device=one.device)))
