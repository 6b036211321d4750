"""What a measurement writes down of a task: the columns of its tables, and captions and masks of its pictures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

__all__ = ["PictureMark", "TaskOutcomes"]


@dataclass(frozen=True)
class PictureMark:
    """A point or a box to draw into a picture, in pixels of the network's input, in the order of its axes.

    Attributes:
        low: the point, or the box's lowest corner.
        high: the box's highest corner; None for a point.
        index: of the class, or of the landmark, among the run's classes.
        score: of a detection.
    """

    low: tuple[float, ...]
    high: tuple[float, ...] | None
    index: int
    score: float | None = None


class TaskOutcomes(ABC):
    """What is written down of the samples of a task, from the outputs that its network gives for them.

    A task whose samples have any number of rows, such as detections, names a table of details and a table of what would
    be right, and fills both.

    Args:
        task: runs the network; it is not wrapped in another one.
    """

    detail_table: ClassVar[str] = ""
    """Name of the table of details beside the outcomes, such as ``detections``; empty for a task without one."""
    truth_table: ClassVar[str] = ""
    """Name of the table of what would be right, such as ``boxes``."""

    def __init__(self, task: Any) -> None:
        self.task = task

    @abstractmethod
    def columns(self, classes: Sequence[str]) -> dict[str, type]:
        """Names of the columns for a network with these classes, in the order of :meth:`values`, and what each holds:
        ``int``, ``float`` or ``str``."""

    def check(self, outputs: Any, classes: Sequence[str]) -> None:  # noqa: B027 (most take any)
        """Refuse outputs that the classes are no names of, before anything is measured.

        Raises:
            BadInputError: with how many there are of each.
        """

    @abstractmethod
    def values(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        """The columns of a batch, each of shape (B,); ``score`` is the task's score."""

    def values_in_space(self, outputs: Any, targets: Any, spacing: Tensor | None) -> dict[str, Tensor]:
        """:meth:`values` of samples whose pixels have a known size; what measures distances overrides it.

        Args:
            outputs: of the network.
            targets: of the samples.
            spacing: (B, D) mm that a pixel has along each axis; None where it is not known.
        """
        return self.values(outputs, targets)

    @abstractmethod
    def caption(self, values: Mapping[str, Tensor], index: int, classes: Sequence[str]) -> dict[str, Any]:
        """What stands below a picture of sample ``index``: ``label``, ``prediction`` and perhaps ``confidence``."""

    @abstractmethod
    def class_counts(self, items: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> dict[str, int]:
        """How many samples of a data set hold each class."""

    def examples(self, items: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> list[int]:
        """Indices of up to four telling samples, to be shown as pictures; the first four by default."""
        return list(range(min(4, len(items))))

    def settings(self) -> dict[str, Any]:
        """Numbers of the task that the columns depend on, as primitives; ``distance_unit``, if it is among them, is set
        to ``"mm"`` where the spacing of the samples is known, to ``"pixels"`` where it is not."""
        return {}

    def picture_masks(self, outputs: Any, targets: Any) -> tuple[Tensor, Tensor] | None:
        """Label maps (B, *spatial) of prediction and truth to draw into pictures; None where a task has none."""
        return None

    def picture_marks(
        self, outputs: Any, targets: Any
    ) -> tuple[Sequence[Sequence[PictureMark]], Sequence[Sequence[PictureMark]]] | None:
        """Points or boxes to draw into pictures of each sample, of prediction and truth; None where a task has none."""
        return None

    def detail_columns(self) -> dict[str, type]:
        """Columns of the table of details, but for those that say of which sample and perturbation a row is."""
        return {}

    def truth_columns(self) -> dict[str, type]:
        """Columns of the table of what would be right, but for the sample's."""
        return {}

    def details(self, outputs: Any, targets: Any) -> list[list[dict[str, Any]]]:
        """For each sample its rows in the table of details, such as a row for each box that was detected."""
        return []

    def true_details(self, targets: Any) -> list[list[dict[str, Any]]]:
        """For each sample its rows in the table of what would be right."""
        return []
