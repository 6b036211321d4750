"""How large each loss term may be before a sample counts as harmed: fitted on clean data, kept as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypedDict

import torch
from ignite import distributed as idist
from monai.engines import default_prepare_batch
from torch import Tensor, nn

from monai_robust.attacks.common.guard import bare, untouched
from monai_robust.data.files.schemas import fields_of
from monai_robust.data.files.side_files import read_json, regular_file
from monai_robust.data.files.whole import write_whole
from monai_robust.errors import BadInputError
from monai_robust.scalars import is_number
from monai_robust.tasks import Task
from monai_robust.tasks.base import checked_task
from monai_robust.tasks.tensors import plain

__all__ = ["Thresholds", "fit_thresholds", "read_thresholds"]

Statistic = Literal["mean", "mean_std", "quantile", "maximum"]
_STATISTICS = ("mean", "mean_std", "quantile", "maximum")
_FAR = 10.0  # a threshold of so many times the largest clean value is never met by training
_BINS = 40


class _Statistics(TypedDict):
    minimum: float
    maximum: float
    mean: float


class _File(TypedDict, total=False):
    """What a file of thresholds may hold; ``thresholds`` themselves are looked at term by term."""

    statistics: dict[str, _Statistics] | None
    fitted: dict[str, Any] | None


class Thresholds(Mapping[str, float]):
    """A threshold for each loss term, ``{name: value}``, with the clean values they were fitted on.

    Args:
        values: the thresholds.
        statistics: for each term ``samples, mean, std, minimum, maximum, below`` (the share of clean samples below
            the threshold) and ``histogram`` (``edges``, ``counts``); empty where nobody measured them.
        fitted: how the values were chosen.

    Raises:
        BadInputError: for a value that is no number, one that no clean sample meets, or one so far above all of them
            that no attack would be noticed.
    """

    def __init__(
        self,
        values: Mapping[str, float],
        statistics: Mapping[str, Mapping[str, Any]] | None = None,
        fitted: Mapping[str, Any] | None = None,
    ) -> None:
        if not isinstance(values, Mapping) or not values:
            raise BadInputError(f"thresholds are {values!r:.80}; they must be a number for each loss term by its name")
        self.values_by_name = {str(name): _number(name, value) for name, value in values.items()}
        self.statistics = {name: dict(found) for name, found in (statistics or {}).items()}
        self.fitted = dict(fitted or {})
        for name, found in self.statistics.items():
            if name in self.values_by_name:
                _check_reachable(name, self.values_by_name[name], found)

    def __getitem__(self, name: str) -> float:
        return self.values_by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_by_name)

    def __len__(self) -> int:
        return len(self.values_by_name)

    def __repr__(self) -> str:
        return f"Thresholds({self.values_by_name})"

    def check_terms(self, terms: Iterable[str]) -> None:
        """Refuse thresholds that are not those of ``terms``, one for each.

        Raises:
            BadInputError: names what is unknown or missing.
        """
        terms = list(terms)
        unknown = [name for name in self if name not in terms]
        missing = [name for name in terms if name not in self]
        if unknown or missing:
            what = f"no loss term is called {unknown[0]!r}" if unknown else f"the loss term {missing[0]!r} has none"
            raise BadInputError(f"the thresholds do not fit the task: {what}; its terms are {', '.join(terms)}")

    def of_terms(self, names: Iterable[str] | None) -> Thresholds:
        """Those of some terms; all where ``names`` is None, and what has none is left to :meth:`check_terms`."""
        if names is None:
            return self
        kept = [name for name in names if name in self]
        found = {name: self.statistics[name] for name in kept if name in self.statistics}
        return Thresholds({name: self[name] for name in kept}, found, self.fitted) if kept else self

    def write(self, path: str | Path) -> Path:
        """Write them as JSON."""
        content = {"thresholds": self.values_by_name, "fitted": self.fitted, "statistics": self.statistics}
        return write_whole(path, f"{json.dumps(content, indent=2)}\n".encode())


def read_thresholds(path: str | Path) -> Thresholds:
    """Thresholds from a file of :meth:`Thresholds.write`, or from a plain JSON object ``{term: value}``.

    Raises:
        BadInputError: when the file is missing or holds something else.
    """
    path = Path(path)
    regular_file(path, "thresholds file")
    try:
        content = read_json(path, "thresholds file", constants=True)  # a threshold that is NaN is refused by its name
    except BadInputError as error:
        raise BadInputError(f"{path} is no thresholds file: {error}") from None
    if not isinstance(content, dict):
        raise BadInputError(f"{path} is no thresholds file: it holds a {type(content).__name__}, not an object")
    found = fields_of(_File, content, str(path))
    try:
        if "thresholds" not in content:
            return Thresholds(content)
        return Thresholds(found["thresholds"], found.get("statistics"), found.get("fitted"))
    except BadInputError as error:
        raise BadInputError(f"{path}: {error}") from None


def fit_thresholds(
    network: Callable[..., Any],
    loader: Iterable[Any],
    task: Task,
    *,
    statistic: Statistic | Mapping[str, Statistic] = "mean",
    k: float = 2.0,
    quantile: float = 0.9,
    like: Mapping[str, str] | None = None,
    prepare_batch: Callable[..., Any] = default_prepare_batch,
    device: str | torch.device | None = None,
) -> Thresholds:
    """Thresholds from the loss terms of a trained network on clean training data (amat, sections 2.2 and 2.3).

    Samples in which a term is not defined, such as the Dice of a slice without foreground, are left out of it. The
    network runs in evaluation mode and is left as it was found; in several processes all of them get the same values.

    Args:
        network: trained, on ``device``.
        loader: the training data; ``EverySample(loader)`` of the training's own gives every sample once and
            unaugmented, as the paper has it.
        task: gives the loss terms.
        statistic: ``"mean"`` (the paper's choice for segmentation), ``"mean_std"`` (mean + k std; the paper's for
            landmarks and detection, k = 2), ``"quantile"`` or ``"maximum"`` (of detection, in its authors' program);
            one for all terms, or one for each by name.
        k: standard deviations above the mean.
        quantile: 0 to 1.
        like: terms whose threshold is fitted on the values of another, ``{term: other}``: AMAT's authors' program
            compares the best class with the level of the mean class, ``{"best_class": "mean_class"}``.
        prepare_batch: as the trainer's.
        device: where the network is; its parameters' by default.

    Raises:
        BadInputError: for what is no task, an argument that cannot work, a term that there is not, no samples, values
            that are not finite, or a threshold that no clean sample meets.
    """
    task = checked_task(task)
    if not is_number(k):
        raise BadInputError(f"k is {k!r}; it must be a number of standard deviations, such as 2")
    if not is_number(quantile) or not 0 < quantile < 1:
        raise BadInputError(f"the quantile is {quantile!r}; it must be a number between 0 and 1")
    if like is not None and not isinstance(like, Mapping):
        raise BadInputError(f"`like` is {like!r}; it must be terms and what they are fitted on, {{term: other}}")
    where = torch.device(device) if device is not None else _device_of(network)
    collected: dict[str, list[Tensor]] = {}
    with untouched(bare(network)) as guarded, torch.no_grad():
        for batch in loader:
            inputs, targets, args, kwargs = (*prepare_batch(batch, where, False), (), {})[:4]
            if not len(inputs):
                continue
            whole = partial(_with_arguments, guarded, args, kwargs) if args or kwargs else guarded
            outputs = task.forward(whole, inputs, targets)
            defined = task.defined(outputs, targets)
            for name, value in task.terms(outputs, targets).items():
                kept = plain(value).detach().double()
                kept = kept[defined[name].to(kept.device)] if name in defined else kept
                collected.setdefault(name, []).append(kept.cpu())
    values = {name: _from_all_ranks(torch.cat(parts)) for name, parts in collected.items()}
    if not values or any(len(found) == 0 for found in values.values()):
        raise BadInputError("there are no samples to fit thresholds on; the data holds none on which a term is defined")
    _require_terms("statistic", statistic if isinstance(statistic, Mapping) else (), values)
    chosen = {name: _chosen(name, statistic) for name in values}
    source = {name: (like or {}).get(name, name) for name in values}
    _require_terms("like", [*(like or {}), *source.values()], values)
    fitted = {name: _fitted(values[source[name]], chosen[name], k, quantile) for name in values}
    statistics = {name: _statistics(found, fitted[name]) for name, found in values.items()}
    return Thresholds(
        fitted, statistics, {"statistic": chosen, "k": float(k), "quantile": float(quantile), "task": task.name}
    )


def _with_arguments(network: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], inputs: Tensor) -> Any:
    """A network with what a ``prepare_batch`` gives it beside the inputs."""
    return network(inputs, *args, **kwargs)


def _fitted(values: Tensor, statistic: Statistic, k: float, quantile: float) -> float:
    if statistic == "quantile":
        return float(values.quantile(quantile))
    if statistic == "maximum":
        return float(values.max())
    spread = k * float(values.std(correction=0)) if statistic == "mean_std" else 0.0
    return float(values.mean()) + spread


def _statistics(values: Tensor, threshold: float) -> dict[str, Any]:
    if not bool(torch.isfinite(values).all()):
        raise BadInputError("a loss term of the trained network is NaN or infinite on clean data; check the checkpoint")
    low, high = float(values.min()), float(values.max())
    counts = torch.histc(values, bins=_BINS, min=low, max=high) if high > low else torch.tensor([float(len(values))])
    edges = torch.linspace(low, high, len(counts) + 1)
    return {
        "samples": len(values),
        "mean": float(values.mean()),
        "std": float(values.std(correction=0)),
        "minimum": low,
        "maximum": high,
        "below": float((values < threshold).double().mean()),
        "histogram": {"edges": edges.tolist(), "counts": [int(count) for count in counts]},
    }


def _check_reachable(name: str, value: float, found: Mapping[str, Any]) -> None:
    low, high, mean = (float(found[key]) for key in ("minimum", "maximum", "mean"))
    numbers = f"clean samples have {low:.4g} to {high:.4g}, mean {mean:.4g}"
    if value <= low and value < high:
        raise BadInputError(f"the threshold {value:.4g} of {name!r} is met by no clean sample ({numbers}); raise it")
    if value > _FAR * max(abs(low), abs(high)):  # of the size of negative losses, too
        raise BadInputError(
            f"the threshold {value:.4g} of {name!r} is over {_FAR:g} times the largest clean value ({numbers}), so "
            "margins would grow without end; lower it"
        )


def _from_all_ranks(values: Tensor) -> Tensor:
    """The values of all processes, whose numbers may differ, which is why they travel in a list and not as a tensor."""
    parts: Any = idist.all_gather([values])
    return torch.cat([part for (part,) in parts])


def _chosen(name: str, statistic: Any) -> Statistic:
    found = statistic.get(name, "mean") if isinstance(statistic, Mapping) else statistic
    if found not in _STATISTICS:
        raise BadInputError(f"the statistic of {name!r} is {found!r}; it can be {', '.join(_STATISTICS)}")
    return found


def _require_terms(argument: str, names: Iterable[str], terms: Mapping[str, Any]) -> None:
    unknown = next((name for name in names if name not in terms), None)
    if unknown is not None:
        raise BadInputError(
            f"no loss term is called {unknown!r}, which `{argument}` names; there are {', '.join(terms)}"
        )


def _number(name: Any, value: Any) -> float:
    if not is_number(value):
        raise BadInputError(f"the threshold of {name!r} is {value!r:.80}; it must be a number")
    return float(value)


def _device_of(network: Callable[..., Any]) -> torch.device:
    parameter = next(iter(network.parameters()), None) if isinstance(network, nn.Module) else None
    return parameter.device if parameter is not None else torch.device("cpu")
