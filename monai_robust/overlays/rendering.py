"""The text of overlays: made from the table of recipes for any id of the engine."""

from __future__ import annotations

import json
from typing import Any

from monai_robust.recipes import RECIPES

__all__ = ["render_attack", "render_recipe"]

_RECIPE = """\
# Trains a bundle by the recipe `{name}`: add this file to its --config_file list.
# What is most worth changing, on the command line too (as in --robust#attack#eps 2.0):
#   robust#attack#eps    radius of the attack, in intensity units of the network's input, or as in 20HU, 3grey (of the
#                        file) or 5% (of the window that the pipeline clips to)
#   robust#weight        lambda of the recipe (null: the recipe's own)
#   robust#views#aug     the augmented view: a transform of one channel-first image, or a key of the batch
#   robust#agreement     where views must agree and the loss is of sigmoids or unknown: bernoulli (independent labels,
#                        overlapping regions) or softmax (classes that exclude each other)
#   robust#thresholds    of a recipe with margins (amat), needed there: a JSON file of thresholds, or a trained
#                        checkpoint to fit them from
#   robust#channels      of inputs some of whose channels are no image (clicks, label maps): those that are, as in "[0]"
#   robust#step          of a recipe with margins: by how much a sample's margin grows
robust:
  excepthook: $import monai_robust.overlays.excepthook   # what a user can mend ends in one line
  plugged: $from monai_robust.overlays.plugged import here   # and so does an overlay that changes no engine
  recipes: $from monai_robust.recipes import as_recipe
  recipe: {name}
  weight: null
  augmented: null
  agreement: null
  channels: null
  thresholds: null
  step: 0.1
  attack:
    _target_: monai_robust.attacks.PGD
    norm: l2
    eps: 1.0
    steps: 7
    bounds: per_image
    channels: "@robust#channels"
  views:
    aug:
      _target_: monai_robust.transforms.AugMix
      operations: intensity
      bounds: null
  shared_forward: true
  margins:
    _target_: monai_robust.handlers.AdaptiveMargins
    _disabled_: $not as_recipe(@robust#recipe).margins
    step: "@robust#step"
    thresholds: "@robust#thresholds"
  update:
    _target_: monai_robust.engines.{update}
    recipe: "@robust#recipe"
    attack: "@robust#attack"
    weight: "@robust#weight"
    augmented: "@robust#augmented"
    views: "@robust#views"
    shared_forward: "@robust#shared_forward"
    agreement: "@robust#agreement"
    channels: "@robust#channels"
    margins: "@robust#margins"
{places}{trainer}#iteration_update: "@robust#update"
"""

# Margins must hear of an epoch's end before the checkpoint of that epoch is written.
_FIRST_HANDLER = """\
{trainer}#train_handlers: "$[one for one in [@robust#margins] if one is not None] + list({others})"
"""
_OTHER_HANDLERS = """\
robust#handlers: {handlers}
"""

# Batches then say which sample an image is, where a pipeline has lost that on its way.
_SAMPLE_IDS = """\
{loader}#dataset:
  _target_: monai_robust.data.WithSampleIds
  dataset: {dataset}
"""

_ATTACK = """\
# Evaluates a bundle under attack, with its own metrics: add this file to its --config_file list.
#   robust_eval#attack#eps    radius of the attack, in units of the network's input, or as in 20HU, 3grey, 5%
#   robust_eval#attack#channels  of inputs some of whose channels are no image: those that are, as in "[0]"
#   robust_eval#loss          what the attack raises; null is cross-entropy of (B, C) outputs, and dense outputs
#                             (segmentation) need the bundle's loss, such as "@loss"
robust_eval:
  excepthook: $import monai_robust.overlays.excepthook   # what a user can mend ends in one line
  plugged: $from monai_robust.overlays.plugged import here   # and so does an overlay that changes no engine
  attack:
    _target_: monai_robust.attacks.PGD
    norm: l2
    eps: 1.0
    steps: 20
    bounds: per_image
    channels: null
  loss: {loss}
  update:
    _target_: monai_robust.engines.{update}
{places}{evaluator}#iteration_update: "@robust_eval#update"
"""


def render_recipe(
    name: str,
    trainer: str = "train#trainer",
    handlers: Any = "@train#handlers",
    named: tuple[str, Any] | None = None,
    around: str | None = None,
    *,
    detector: bool = False,
    copied: tuple[str, Any] | None = None,
) -> str:
    """The overlay of a recipe for a bundle whose trainer has the id ``trainer``.

    Args:
        name: the recipe.
        trainer: the trainer's id.
        handlers: what the trainer's ``train_handlers`` are in the bundle's configuration: a reference, an expression,
            a list of components, or None.
        named: id of the loader whose data set is to tell samples by ``WithSampleIds``, and what its ``dataset`` is in
            the bundle's configuration; by default data stays as it is.
        around: the trainer's own iteration in JSON, which the recipe is put around: a component, or null for the one
            that its class defines; None where it has MONAI's.
        detector: whether that iteration asks a detector for its losses.
        copied: an id on the way to the trainer that is a macro in the bundle's configuration, and what it stands for,
            which another file can change only where it is written out.
    """
    own = "AroundDetector" if detector else "AroundIteration"
    update = "RobustUpdate" if around is None else f"{own}\n    iteration: {around}"
    text = _RECIPE.format(name=name, trainer=trainer, update=update, places=_places(trainer, copied))
    if named is not None:
        text += _SAMPLE_IDS.format(loader=named[0], dataset=json.dumps(named[1]))
    if not RECIPES[name].margins:
        return text
    if isinstance(handlers, str):
        return text + _FIRST_HANDLER.format(trainer=trainer, others=handlers.removeprefix("$"))
    listed = handlers if isinstance(handlers, list) else [] if handlers is None else [handlers]
    text += _OTHER_HANDLERS.format(handlers=json.dumps(listed))
    return text + _FIRST_HANDLER.format(trainer=trainer, others="@robust#handlers")


def render_attack(
    evaluator: str = "validate#evaluator",
    loss: str | None = None,
    *,
    detector: str | None = None,
    copied: tuple[str, Any] | None = None,
) -> str:
    """The attack overlay for a bundle.

    Args:
        evaluator: the evaluator's id.
        loss: a reference to what is attacked; None for cross-entropy.
        detector: of an evaluator that runs a detector, which has losses of its own, the iteration in JSON: a component,
            or null for the one that its class defines.
        copied: as of :func:`render_recipe`.
    """
    update = 'UnderAttack\n    attack: "@robust_eval#attack"\n    loss: "@robust_eval#loss"'
    if detector is not None:
        update = f'DetectorUnderAttack\n    attack: "@robust_eval#attack"\n    iteration: {detector}'
    raised = "null" if loss is None else f'"{loss}"'
    return _ATTACK.format(evaluator=evaluator, places=_places(evaluator, copied), loss=raised, update=update)


def _places(engine: str, copied: tuple[str, Any] | None) -> str:
    """Lines that make the places on the way to an engine where a configuration has none, and change none that are."""
    parts = engine.split("#")
    places = ["#".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
    if copied is None:
        return "".join(f"+{place}: {{}}\n" for place in places)
    return "".join(
        f"{place}: {json.dumps(copied[1])}\n" if place == copied[0] else f"+{place}: {{}}\n" for place in places
    )
