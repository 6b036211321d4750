"""What one batch of training and one of validation show of a bundle."""

from __future__ import annotations

from dataclasses import dataclass, field

from monai_robust.pipelines.outputs import Outputs

__all__ = ["Checkpoints", "Found", "Images"]


@dataclass(frozen=True)
class Images:
    """The images of a batch as the network takes them.

    Attributes:
        shape: (C, *spatial) of one.
        batch: how many there are.
        low, high: least and greatest intensity.
        norm: typical L2 norm of one, the median of the batch.
        guidance: indices of channels that are no image, such as clicks or another image's label.
        guided_by: what said so.
    """

    shape: tuple[int, ...]
    batch: int
    low: float
    high: float
    norm: float
    guidance: tuple[int, ...] = ()
    guided_by: str = ""


@dataclass(frozen=True)
class Checkpoints:
    """Where a training writes its checkpoints.

    Attributes:
        saver: id of the ``CheckpointSaver``.
        owner: ``"trainer"`` or ``"validator"``, whichever has it among its handlers.
        folder: where, as seen from the bundle's folder.
        file: name of the file, or a pattern of the shell that fits its files.
        setting: the id that changes the folder.
        named_after: the recipe that the folder's name ends in, where it is named after the training's own recipe; None
            where the setting has to keep recipes apart.
    """

    saver: str
    owner: str
    folder: str
    file: str
    setting: str
    named_after: str | None = None

    def of(self, recipe: str) -> str:
        """The folder of a recipe's checkpoints; ``"stock"`` is the training as it is."""
        if self.named_after is None:
            return f"{self.folder}_{recipe}"
        return self.folder.removesuffix(self.named_after) + ("erm" if recipe == "stock" else recipe)

    def words(self, recipe: str) -> str:
        """The setting that keeps the checkpoints of one recipe apart from those of others, for a command line."""
        return "" if self.named_after is not None else f" --{self.setting} {self.of(recipe)}"

    def path(self, recipe: str) -> str:
        """A checkpoint for a command line, the newest where names are not known beforehand."""
        path = f"{self.of(recipe)}/{self.file}"
        return f'"$(ls -t {path} | head -n 1)"' if "*" in path else path


@dataclass(frozen=True)
class Found:
    """What was found out about a bundle.

    Attributes:
        trainer, evaluator: ids of the engines, None where there is none.
        engine_names: their classes' names.
        outputs: what the network answers.
        training, validation: images of one batch, None without one.
        loss: name of the loss.
        loss_tells: whether the loss says what outputs are, so that nobody else need say how views agree.
        labelled: whether the evaluation's batches have labels.
        measurable: whether those are what a measurement takes.
        windows: window size and number of windows of one validation image, None without sliding windows.
        attack_gib: estimated memory of an attack on one batch of validation, in GiB.
        samples: how samples are known, as a phrase; None where they are not.
        unnamed: whether they are known only where the training's data set is wrapped in ``WithSampleIds``.
        checkpoints: where they go; None where nothing saves any.
        loader: id of the ``CheckpointLoader`` of the evaluation, if it has one.
        trained: the words that name the weights of a network which is not trained here, for ``monai-robust evaluate``.
        attackable: whether its loss can be attacked, which is what trainings by an overlay do.
        notes: whole sentences about what does not fit.
    """

    trainer: str | None
    evaluator: str | None
    engine_names: tuple[str, ...]
    outputs: Outputs
    training: Images | None
    validation: Images | None
    loss: str | None
    loss_tells: bool
    labelled: bool
    windows: tuple[tuple[int, ...], int] | None
    attack_gib: float | None
    samples: str | None
    checkpoints: Checkpoints | None
    loader: str | None
    trained: str | None = None
    unnamed: bool = False
    measurable: bool = True
    attackable: bool = True
    notes: tuple[str, ...] = field(default=())

    @property
    def images(self) -> Images:
        """Of validation where there is one, whose images are those that are attacked in an evaluation."""
        images = self.validation or self.training
        assert images is not None  # a pipeline without engines was refused
        return images
