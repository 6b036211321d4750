"""Another question asked of a data list: classes put together or left out, and so many test images of each."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence

from numpy.random import default_rng

from monai_robust.data.classification.datalist import ClassificationDatalist
from monai_robust.errors import BadInputError
from monai_robust.scalars import is_whole

__all__ = ["read_classes", "with_classes", "with_test_images"]

_LOG = logging.getLogger(__name__)
_CLASS = re.compile(r"[^=+,]+(=[^=+,]+(\+[^=+,]+)*)?")


def read_classes(words: str) -> dict[str, list[str]]:
    """Classes and the labels that are put together in each, of a word of a command line.

    >>> read_classes("abnormal=benign+malignant,normal")
    {'abnormal': ['benign', 'malignant'], 'normal': ['normal']}

    Raises:
        BadInputError: for anything else, and for a label that is in two classes.
    """
    found: dict[str, list[str]] = {}
    for word in words.split(","):
        name, _, labels = word.strip().partition("=")
        if not _CLASS.fullmatch(word.strip()) or name in found:
            raise BadInputError(f"--relabel is {words!r}; it takes classes such as abnormal=benign+malignant,normal")
        found[name] = labels.split("+") if labels else [name]
    every = [label for labels in found.values() for label in labels]
    twice = next((label for label in every if every.count(label) > 1), None)
    if twice is not None:
        raise BadInputError(f"--relabel is {words!r}, which puts {twice!r} into two classes")
    return found


def with_classes(found: ClassificationDatalist, classes: Mapping[str, Sequence[str]]) -> ClassificationDatalist:
    """The samples of the labels that are named, with these classes; the others are left out.

    Args:
        found: a data list.
        classes: in the order of the new labels, each with the names of the classes that are put together in it.

    Raises:
        BadInputError: for a name that is none of the data list's, or fewer than two classes.
    """
    if len(classes) < 2:
        raise BadInputError(f"--relabel leaves the class {', '.join(classes)} alone; a classifier needs two or more")
    unknown = next((label for labels in classes.values() for label in labels if label not in found.classes), None)
    if unknown is not None:
        raise BadInputError(f"--relabel names {unknown!r}, and the data has the classes {', '.join(found.classes)}")
    new = {found.classes.index(label): place for place, labels in enumerate(classes.values()) for label in labels}
    items = {
        split: [{**one, "label": new[one["label"]]} for one in samples if one["label"] in new]
        for split, samples in found.items.items()
    }
    return ClassificationDatalist(tuple(classes), items)


def with_test_images(found: ClassificationDatalist, per_class: int, seed: int) -> ClassificationDatalist:
    """At most so many test images of each class, drawn without replacement; training and validation as they are.

    A class that has fewer is told of in the log.

    Source: model-complexity, "Generating adversarial examples": about 150 images of each class of the test set.

    Raises:
        BadInputError: for a number below 1.
    """
    if not is_whole(per_class, 1):
        raise BadInputError(f"--test_per_class is {per_class}; it can be 1 or more")
    rng, kept = default_rng(seed), set()
    for label in range(len(found.classes)):
        own = [place for place, one in enumerate(found.items["test"]) if one["label"] == label]
        if len(own) < per_class:
            _LOG.warning("of class %s there are %d test images, not %d", found.classes[label], len(own), per_class)
        kept |= set(rng.permutation(own)[:per_class].tolist())
    test = [one for place, one in enumerate(found.items["test"]) if place in kept]
    return ClassificationDatalist(found.classes, {**found.items, "test": test})
