"""Signs that an attack, and not the network's strength, is why a network looks robust: one function for each.

Sources: Carlini et al. 2019 (On evaluating adversarial robustness), section 3 and 5; Athalye et al. 2018 (Obfuscated
gradients give a false sense of security), section 3; Pintor et al. 2022 (Indicators of attack failure).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from monai_robust.attacks import APGD, GradientAttack
from monai_robust.errors import BadSamplesError
from monai_robust.evaluation.sanity.probed_attack import CHANCE, ROUNDING, ProbedAttack, chance, falls, slack
from monai_robust.evaluation.sanity.probes import members_of
from monai_robust.evaluation.sections.parts import listed, number
from monai_robust.evaluation.tables.sanity_file import Finding
from monai_robust.networks.repeatable import answered_twice
from monai_robust.tasks.probabilities import PROBABILITIES

__all__ = ["NEARLY_ALL", "QUERIES", "run_checks"]

QUERIES = 50
"""Guesses of the black-box attack for each sample."""
NEARLY_ALL = 0.9
"""Share of samples, or of the harm that wiping an image does, that an unlimited attack must reach."""
_LIMITLESS = "When images may be changed without limit,"

Verdict = tuple[str, str, dict[str, Any]]


def loss_grows_with_steps(attack: ProbedAttack) -> Verdict:
    """Clean, one step, half of them, all of them: no budget may do less harm than a smaller one."""
    shares: dict[str, Callable[[int], int]] = {
        "1 step": lambda _: 1,
        "half of its steps": lambda steps: max(1, steps // 2),
    }
    several = max(one.budget for one in members_of(attack.probe.attack))
    tried = [(name, share) for name, share in shares.items() if share(several) < several]
    found = [attack.clean, *(attack.shortened(share) for _, share in tried), attack.full]
    means = [attack.reported(one) for one in found]
    after = [f"{number(mean)} after {name}" for (name, _), mean in zip(tried, means[1:-1], strict=True)]
    told = f"the {attack.name} of {attack.images} is {number(means[0])} unattacked, "
    told += listed([*after, f"{number(means[-1])} after all"])
    numbers = {
        "radius": attack.probe.radius,
        "budgets": ["none", *(name for name, _ in tried), "all"],
        attack.name: means,
    }
    least = slack(np.nanmean(attack.clean.harm), max(np.nanmean(one.harm) for one in found))
    rises = int((attack.full.harm > attack.clean.harm + ROUNDING * (1 + np.abs(attack.clean.harm))).sum())
    numbers["raised"] = rises
    if not attack.probe.by_score and 2 * rises <= attack.probe.samples:
        sentence = (
            f"At radius {attack.radius} the search raises the loss of only {rises} of {attack.images}: it finds no way."
        )
        return "warn", sentence, numbers
    if any(falls(less.harm, more.harm, least, len(found) - 1) for less, more in pairwise(found)):
        sentence = f"A longer search does less harm at radius {attack.radius}: {told}; it loses its way."
        return "warn", sentence, numbers
    return "pass", f"At radius {attack.radius} {told}.", numbers


def loss_grows_with_radius(attack: ProbedAttack) -> Verdict:
    """Probes at the smallest radius, at the probed one and without limit, and all rows of the outcomes table: no radius
    may do less harm than a smaller one. (A table of searched radii cannot tell: there a success counts at all larger
    radii.)"""
    radii = list(attack.scores)
    means = [float(np.nanmean(scores)) for scores in attack.scores.values()]
    name = attack.task.score_name
    probed = {f"radius {number(min(radii[1:]))}{attack.unit}": attack.nearest, f"radius {attack.radius}": attack.full}
    probed["no limit"] = attack.farthest
    far = {where: attack.reported(one) for where, one in probed.items()}
    numbers: dict[str, Any] = {"radii": radii, name: means, f"{attack.name} of the probes": far}
    for (here, nearer), (there, farther) in pairwise(probed.items()):
        least = slack(np.nanmean(attack.clean.harm), max(np.nanmean(nearer.harm), np.nanmean(farther.harm)))
        if falls(nearer.harm, farther.harm, least, len(probed) - 1):
            told = (
                f"The {attack.name} of {attack.images} is {number(far[here])} at {here} and {number(far[there])} at "
                f"{there}"
            )
            return "warn", f"{told}: a larger change does less harm, so that the search loses its way.", numbers
    if attack.probe.single.goal != "untargeted":
        told = listed([f"{number(mean)} at {where}" for where, mean in far.items()])
        return "pass", f"The {attack.name} is {told}.", numbers
    harm = {radius: -attack.merit(scores) for radius, scores in attack.scores.items()}
    least = slack(np.nanmean(harm[0.0]), max(float(np.nanmean(one)) for one in harm.values()))
    for less, more in pairwise(radii):
        if falls(harm[less], harm[more], least, len(radii) - 1):
            sentence = (
                f"The {name} is better at radius {number(more)} ({number(means[radii.index(more)])}) than at "
                f"{number(less)} ({number(means[radii.index(less)])}): at the larger one the search loses its way."
            )
            return "warn", sentence, numbers
    ends = f"{number(means[0])} unattacked and {number(means[-1])} at radius {number(radii[-1])}"
    return "pass", f"No larger radius does less harm; the {name} is {ends}.", numbers


def succeeds_at_large_radius(attack: ProbedAttack) -> Verdict:
    """An attack that may change an image altogether: nearly all are misclassified; elsewhere, the score is nearly as
    bad as for images without content, or, since an attack need not raise the score of a poor network, the loss is."""
    if attack.probe.classes:
        share = float(attack.farthest.won.mean())
        told = f"{_LIMITLESS} the attack reaches its goal for {100 * share:.0f} % of {attack.images}"
        numbers: dict[str, Any] = {"share": share}
        reached = share >= NEARLY_ALL
    else:
        wiped = attack.probe.harm(attack.probe.wiped())
        clean, blank, far = (
            float(np.nanmean(attack.merit(one.score))) for one in (attack.clean, wiped, attack.farthest)
        )
        sign = 1 if attack.task.higher_is_better else -1
        numbers = {"clean": sign * clean, "wiped": sign * blank, "attacked": sign * far}
        told = (
            f"{_LIMITLESS} the attack takes the {attack.task.score_name} from "
            f"{number(sign * clean)} to {number(sign * far)} (images without content: {number(sign * blank)})"
        )
        rise, needed = (float(np.nanmean(one.harm - attack.clean.harm)) for one in (attack.farthest, wiped))
        numbers[f"change of the {attack.name}, attacked and wiped"] = [rise, needed]
        reached = clean - far >= NEARLY_ALL * (clean - blank) or rise >= NEARLY_ALL * needed > 0
    if reached:
        return "pass", f"{told}.", numbers
    return (
        "warn",
        f"{told}; that it cannot do more means that the search fails, not that the network is strong.",
        numbers,
    )


def black_box_does_not_win(attack: ProbedAttack) -> Verdict:
    """Square with few queries and no gradient, within the same radius: sample by sample against the attack."""
    if attack.probe.black_box:
        return _not_applicable("The attack guesses itself; there is nothing to compare it with")
    if attack.probe.clean[0].ndim < 3:
        return _not_applicable("The attack by guessing takes images, and these inputs are none")
    if attack.probe.classes and attack.full.won.all():
        sentence = (
            f"At radius {attack.radius} the attack misleads the network on all of {attack.images}; no guess does more."
        )
        return "pass", sentence, {"radius": attack.probe.radius}
    guessed = attack.probe.harm(attack.probe.points(attack.probe.black_box_attack(QUERIES)))
    if attack.probe.classes:
        better, worse = guessed.won & ~attack.full.won, attack.full.won & ~guessed.won
        what = "misleads the network on"
    else:
        least = slack(np.nanmean(attack.clean.harm), np.nanmean(attack.full.harm))
        better, worse = guessed.harm > attack.full.harm + least, attack.full.harm > guessed.harm + least
        what = "does more harm to"
    wins, losses = int(better.sum()), int(worse.sum())
    p = chance(wins, losses)
    told = (
        f"At radius {attack.radius} guessing ({QUERIES} queries) {what} {wins} of {attack.images} where the attack "
        f"does not, and the attack {what} {losses} where guessing does not"
    )
    numbers = {"radius": attack.probe.radius, "queries": QUERIES, "black_box_only": wins, "attack_only": losses, "p": p}
    if p < CHANCE:
        return "warn", f"{told}: the network hides its gradient, and is weaker than the attack shows.", numbers
    return "pass", f"{told}.", numbers


def gradients_alive(attack: ProbedAttack) -> Verdict:
    """The loss gradient at the clean input: exactly zero or not finite anywhere?"""
    if attack.probe.black_box:
        return _not_applicable("The attack uses no gradient")
    counted, zero, broken = attack.probe.gradients()
    numbers = {"samples": counted, "zero": zero, "not_finite": broken}
    if zero or broken:
        told = [f"zero for {zero}"] * bool(zero) + [f"not a number for {broken}"] * bool(broken)
        sentence = (
            f"The gradient that the search follows is {listed(told)} of {counted} unattacked images: there it is blind."
        )
        return "warn", sentence, numbers
    return "pass", f"The gradient that the search follows exists for all of {counted} unattacked images.", numbers


def start_does_not_win(attack: ProbedAttack) -> Verdict:
    """The random start before any step: does it do most of the harm already?"""
    if attack.probe.black_box:
        return _not_applicable("The attack starts from patterns that are meant to do harm")
    if not any(getattr(one, "random_start", False) for one in members_of(attack.probe.attack)):
        return _not_applicable("The attack starts from the image itself")
    start = attack.start
    if attack.probe.classes:
        noise, search = int((start.won & ~attack.clean.won).sum()), int((attack.full.won & ~attack.clean.won).sum())
        told = (
            f"at radius {attack.radius} the random start alone breaks {noise} of {attack.images}, the attack {search}"
        )
        numbers: dict[str, Any] = {"start": noise, "attack": search}
        mostly = noise > 1 and 2 * noise > search
    else:
        rise, whole = (float(np.nanmean(one.harm - attack.clean.harm)) for one in (start, attack.full))
        share = f"{100 * max(rise, 0.0) / whole:.0f} %" if whole > 0 else "all"
        told = f"at radius {attack.radius} the random start alone makes {share} of the change of the {attack.name}"
        numbers = {"start": rise, "attack": whole}
        mostly = rise > 0 and 2 * rise > whole
    if mostly:
        return "warn", f"A{told[1:]}: random noise does what is taken for the attack's work.", numbers
    return "pass", f"A{told[1:]}.", numbers


def travels_radius(attack: ProbedAttack) -> Verdict:
    """``steps * step >= radius`` at every radius; of APGD, whose steps only get shorter, by the first step."""
    walking = [one for one in members_of(attack.probe.attack) if isinstance(one, (GradientAttack, APGD))]
    if not walking:
        return _not_applicable("The attack has no steps of a given length")
    if attack.unit and any(one.step_size is not None for one in walking):
        return _not_applicable("Steps are in units of the network's input, and radii in those of each image")
    largest = max(attack.scores)
    reach = min(_reach(one, largest) for one in walking)
    numbers = {"radius": largest, "reach": reach}
    if reach >= largest * (1 - ROUNDING):
        return (
            "pass",
            f"All steps together can go {number(reach)}, and the largest radius is {number(largest)}.",
            numbers,
        )
    sentence = (
        f"All steps together can go only {number(reach)}, but the largest radius is {number(largest)}: more steps or "
        "longer ones are needed to use it."
    )
    return "warn", sentence, numbers


def deterministic_network(attack: ProbedAttack) -> Verdict:
    """The network's outputs for the same clean input, twice."""
    twice = answered_twice(attack.probe.answers)
    numbers = {"difference": twice.difference, "largest_output": twice.largest, "eot": attack.probe.eot}
    if not twice.at_random:
        return "pass", "The network gives the same answer when it is shown the same image again.", numbers
    told = "The network answers at random: the same image gets another answer when it is shown again"
    if attack.probe.eot > 1:
        return "pass", f"{told}; the attack averages over {attack.probe.eot} answers, as it then must.", numbers
    sentence = f"{told}. The attack must then average over several answers, such as APGD(eot=10), and here it does not."
    return "warn", sentence, numbers


def outputs_are_logits(attack: ProbedAttack) -> Verdict:
    """The outputs for the clean samples: do they look like probabilities?"""
    probabilities = attack.probe.watched().probabilities
    if probabilities is None:
        return _not_applicable("The task has no logits of classes in its outputs")
    if probabilities:
        return "warn", PROBABILITIES, {"samples": attack.probe.samples}
    return "pass", "The network's outputs are no probabilities, and are taken for logits.", {}


_CHECKS: Mapping[str, Callable[[ProbedAttack], Verdict]] = {
    check.__name__: check
    for check in (
        loss_grows_with_steps,
        loss_grows_with_radius,
        succeeds_at_large_radius,
        black_box_does_not_win,
        gradients_alive,
        start_does_not_win,
        travels_radius,
        deterministic_network,
        outputs_are_logits,
    )
}


def run_checks(attack: ProbedAttack) -> list[Finding]:
    """What every check says, in the order of :data:`~monai_robust.evaluation.tables.sanity_file.CHECKS`."""
    found = []
    for name, check in _CHECKS.items():
        try:
            status, sentence, numbers = check(attack)
        except (FloatingPointError, BadSamplesError) as error:
            # a result in itself: so far out, or for these samples, the network gives no loss to follow
            status, sentence, numbers = "warn", f"The check broke off: {error}.", {}
        found.append(Finding(attack.probe.sweep.name, name, status, sentence, numbers))  # type: ignore[arg-type]
    return found


def _reach(attack: GradientAttack | APGD, radius: float) -> float:
    if attack.step_size is not None:
        return attack.steps * attack.step_size
    return radius * attack.relative_step * (attack.steps if isinstance(attack, APGD) else 1)


def _not_applicable(reason: str) -> Verdict:
    return "not_applicable", f"{reason}.", {}
