"""Pages of the reference that are made from the code: interface, command line, ids, tables and JSON files."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any, get_args, get_origin, get_type_hints, is_typeddict

import report_columns
import typer
import yaml

from monai_robust.commands.app import app
from monai_robust.commands.bundle import shipped_bundles
from monai_robust.data.files import training_record
from monai_robust.evaluation.tables import (
    explanation_file,
    metrics_file,
    run_folder,
    sanity_file,
    schema,
    transfer_file,
)
from monai_robust.evaluation.tables.detections import CORNERS
from monai_robust.evaluation.tasks.segmentation.outcomes import COUNTS, LESIONS, SURFACES
from monai_robust.margins import thresholds
from monai_robust.overlays import overlay_names, overlay_path

__all__ = ["described", "documented", "write"]

PACKAGE = Path(importlib.import_module("monai_robust").__file__ or "").parent

# What a column holds; a column that is not told here fails the build.
COLUMNS = {
    "sample_id": "which sample, as the data list, its file or its entry names it",
    "patient_id": "whose it is, empty where nothing tells; intervals are by patient",
    "perturbation": "`clean`, or the name of an attack, corruption, search or other site",
    "severity": "of an attack its radius, of a corruption what its table says; 0 if clean",
    "norm": "of the radius: `l2`, `linf`, or empty",
    "radius": "where images have radii of their own: the radius in units of the network's input",
    "distance": "size of the change that was applied, in the norm (L2 of corruptions), in the network's units",
    "contrast": "standard deviation of the intensities that the network saw",
    "input_norm": "L2 norm of the clean input",
    "label": "the true class, from 0 on",
    "prediction": "the class with the largest probability",
    "probability": "of the class, after softmax",
    "label_known": "1 present, 0 absent, -1 not known",
    "finding_probability": "of the finding, after a sigmoid",
    "score": "what rates the sample: right (1) or wrong (0), Dice, radial error in mm, average IoU, or the key metric",
    "confidence": "probability of what is said of a pixel, averaged over the predicted foreground",
    "tp": "pixels of the class in both",
    "fp": "pixels found that are not of the class",
    "fn": "pixels of the class that were not found",
    "error": "radial error of the landmark, in mm",
    "boxes": "true boxes in the image",
    "detections": "boxes found",
    "loss": "what the attacks raise",
    "class": "of the box, from 0 on",
    "detection_score": "of the detection, 0 to 1",
    "corner": "of the box, in pixels of the network's input",
    "surface": "of the surfaces of the class, in mm or as a share (docs: segmentation)",
    "lesion": "lesions of the class: true, found, matched (docs: segmentation)",
}


def write(folder: Path) -> None:
    """Write all pages anew where they differ, and delete those that are no more."""
    pages = {
        **dict(_interface()),
        "command_line": _command_line(),
        "ids": _ids(),
        "tables": _tables(),
        "report_tables": _report_tables(),
        "files": _files(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.md"):
        if path.stem not in pages:
            path.unlink()
    for name, text in pages.items():
        path = folder / f"{name}.md"
        if not path.is_file() or path.read_text() != text:
            path.write_text(text)


def documented() -> dict[str, list[str]]:
    """The names that each public folder hands on, each name at the first folder, from the top, that does."""
    found: dict[str, list[str]] = {}
    seen: set[int] = set()
    pages = sorted(PACKAGE.rglob("__init__.py"), key=lambda path: (len(path.parts), path))
    for page in pages:
        name = ".".join(page.parent.relative_to(PACKAGE.parent).parts)
        module = importlib.import_module(name)
        own = []
        for public in getattr(module, "__all__", []):
            value = getattr(module, public)
            if isinstance(value, ModuleType) or public == "__version__" or id(value) in seen:
                continue
            seen.add(id(value))
            own.append(public)
        if own:
            found[name] = own
    return dict(sorted(found.items()))


def _interface() -> Iterator[tuple[str, str]]:
    for module, names in documented().items():
        lines = [f"# {module}", "", "```{eval-rst}", f".. automodule:: {module}", "   :no-members:", ""]
        kinds = {name: _kind_of(getattr(importlib.import_module(module), name)) for name in names}
        listed = [name for name, kind in kinds.items() if kind != "data"]
        lines += [f".. currentmodule:: {module}", "", ".. autosummary::", "", *(f"   {name}" for name in listed), ""]
        for name, kind in kinds.items():
            if kind == "data":
                lines += [f".. data:: {name}", "", *(f"   {line}" for line in _of_data(module, name)), ""]
            else:
                lines += [f".. auto{kind}:: {module}.{name}", *(["   :members:"] if kind == "class" else []), ""]
        yield module, "\n".join([*lines, "```", ""])


def _of_data(module: str, name: str) -> list[str]:
    return described(module, name).replace(" *spatial", r" \*spatial").splitlines()


def _kind_of(value: Any) -> str:
    return "class" if inspect.isclass(value) else "function" if inspect.isroutine(value) else "data"


def described(module: str, name: str) -> str:
    """What the code says of a public name, "" if it says nothing; of a constant, the text below its assignment."""
    value = getattr(importlib.import_module(module), name)
    if _kind_of(value) != "data":
        return inspect.cleandoc(value.__doc__ or "")
    folder = PACKAGE.parent.joinpath(*module.split("."))
    for path in sorted(folder.rglob("*.py")):
        body = ast.parse(path.read_text()).body
        for statement, after in pairwise(body):
            targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
            if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                text = after.value if isinstance(after, ast.Expr) else None
                if isinstance(text, ast.Constant) and isinstance(text.value, str):
                    return inspect.cleandoc(text.value)
    return ""


def _command_line() -> str:
    lines = [
        "# Command line",
        "",
        "`monai-robust COMMAND --help` says the same. `python -m monai_robust` is the same program.",
    ]
    lines += [
        "What a user can mend ends in one line on standard error and exit status 2; `evaluate --strict` ends in 3",
        "where a sanity check warns.",
        "",
    ]
    group = typer.main.get_command(app)
    for name, command in sorted(group.commands.items()):  # type: ignore[attr-defined]
        said, _, example = inspect.cleandoc(command.help or "").partition("Example:")
        lines += [f"## {name}", "", said.strip(), ""]
        lines += ["```text", " ".join(example.split()), "```", ""] if example else []
        rows = [(_option(one), one.help or "", _default(one)) for one in command.params if one.name != "help"]
        lines += _table(("option", "meaning", "default"), rows)
    return "\n".join(lines)


def _option(parameter: Any) -> str:
    argument = parameter.param_type_name == "argument"
    return f"`{parameter.name.upper()}`" if argument else f"`{', '.join(parameter.opts)}`"


def _default(parameter: Any) -> str:
    if parameter.required:
        return "needed"
    return "" if parameter.default in (None, False, ()) or callable(parameter.default) else f"`{parameter.default}`"


def _ids() -> str:
    lines = [
        "# Configuration ids",
        "",
        "Every id can be set on the line of `python -m monai.bundle run`, as `--robust#attack#eps 0.5`.",
    ]
    lines += ["What each means is told by [overlays](../../overlays.md) and by the page of each bundle.", ""]
    for name in overlay_names():
        rows = [(f"`{key}`", _shown(value)) for key, value in _leaves(yaml.safe_load(overlay_path(name).read_text()))]
        lines += [f"## Overlay {name}", "", *_table(("id", "value"), rows)]
    for name, folder in shipped_bundles().items():
        for config in ("train", "evaluate", "robustness", "inference", "multi_gpu_train"):
            text = (folder / "configs" / f"{config}.yaml").read_text()
            rows = [
                (f"`{key}`", _shown(value), comment or "")
                for key, value, comment in re.findall(r"^([A-Za-z_]\w*): +(\S.*?)(?: +# (.*))?$", text, re.MULTILINE)
            ]
            lines += [f"## {name}, {config}.yaml", "", *_table(("id", "value", "what the file says"), rows)]
    return "\n".join(lines)


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, own in value.items():
            yield from _leaves(own, f"{name}#{key}" if name else str(key))
    else:
        yield name, value


def _tables() -> str:
    keys = {**schema.KEYS, **schema.RADIUS, **schema.MEASURED}
    lines = [
        "# Columns of tables",
        "",
        "`outcomes.parquet` and `outcomes.csv` of a run have a row for each sample, perturbation and",
    ]
    lines += ["severity. In every task:", "", *_columns({name: (kind, name) for name, kind in keys.items()})]
    lines += [
        "The columns named as `groups` follow `norm`, as text; `radius` is rarely there. What a report makes of them",
        "is told in [columns of a report's tables](report_tables.md).",
        "",
    ]
    score = {"score": (float, "score")}
    own: dict[str, dict[str, tuple[type, str]]] = {
        "classification": {
            "label": (int, "label"),
            "prediction": (int, "prediction"),
            "probability_0, ...": (float, "probability"),
        },
        "multi_label": {"label_0, ...": (int, "label_known"), "probability_0, ...": (float, "finding_probability")},
        "segmentation": {
            "confidence": (float, "confidence"),
            **{f"{name}_1, ...": (int, name) for name in COUNTS},
            **{f"{name}_1, ...": (float, "surface") for name in SURFACES},
            **{f"{name}_1, ...": (int, "lesion") for name in LESIONS},
        },
        "landmarks": {"error_1, ...": (float, "error")},
        "detection": {"boxes": (int, "boxes"), "detections": (int, "detections")},
        "key_metric": {"loss": (float, "loss")},
    }
    for task, columns in own.items():
        lines += [f"## Of {task}", "", *_columns({**columns, **score})]
    details = {name: (kind, name) for name, kind in schema.DETAIL_KEYS.items()}
    corners = {name: (float, "corner") for name in CORNERS[0]}
    lines += [
        "## detections and boxes",
        "",
        "Of detection, `detections.parquet` and `.csv` have a row for each detection:",
        "",
    ]
    lines += _columns({**details, "class": (int, "class"), "score": (float, "detection_score"), **corners})
    lines += ["`boxes.parquet` and `.csv` one for each true box: `sample_id`, `class` and the corners. In three", ""]
    lines[-2] += f" dimensions the corners are {', '.join(f'`{name}`' for name in CORNERS[1])}."
    return "\n".join(lines)


def _report_tables() -> str:
    lines = [
        "# Columns of a report's tables",
        "",
        "A report writes its numbers as CSV into `<name of the report>_tables`. A table is there where there is",
        "something to say in it. `table_*.csv` are the tables of the page as they are shown: a column has the header",
        "and the unit of the page, and behind it, where there are any, `<header>, standard deviation` over replicates,",
        "`<header>, 95 % low` and `<header>, 95 % high`. All others have these columns, wherever they stand:",
        "",
        *_told(report_columns.COMMON),
        "Behind a column `<column>_low` and `<column>_high` are the ends of its 95 % interval (single runs),",
        "`<column>_std` is its standard deviation over the runs of a name.",
        "",
    ]
    for name, (row, columns) in report_columns.TABLES.items():
        if columns is report_columns.SUMMARY and name != "summary":
            lines += [f"## {name}", "", f"{_a_row(row)}; columns as of `summary`.", ""]
            continue
        lines += [f"## {name}", "", f"{_a_row(row)}.", "", *_told(columns)]
        if columns is report_columns.SUMMARY:
            lines += ["And what the task measures. Of class, finding or landmark c it is `<column>_<c>`, classes and"]
            lines += ["findings from 0, of segmentation and landmarks from 1; RULE is `youden`, `90` or `95`:", ""]
            lines += _told(report_columns.STATISTICS)
    lines += ["## What a training leaves", "", "Beside its checkpoints, or where the command says:", ""]
    for name, (row, columns) in report_columns.TRAINING.items():
        lines += [f"### {name}", "", f"{_a_row(row)}.", "", *_told(columns)]
    return "\n".join(lines)


def _a_row(row: str) -> str:
    return f"A row is {row}"


def _told(columns: Mapping[str, str]) -> list[str]:
    return _table(("column", "meaning"), [(f"`{name}`", meaning) for name, meaning in columns.items()])


def _columns(columns: Mapping[str, tuple[type, str]]) -> list[str]:
    names = {str: "text", int: "whole number", float: "number"}
    rows = [(f"`{name}`", names[kind], COLUMNS[meaning]) for name, (kind, meaning) in columns.items()]
    return _table(("column", "holds", "meaning"), rows)


def _files() -> str:
    lines = [
        "# JSON files",
        "",
        "Fields that are read again, and what each must be; a file may hold others, which are shown or left alone.",
        "",
    ]
    schemas = {
        "run.json": run_folder._Info,
        "run.json, each of `perturbations`": run_folder.Perturbation,
        "training.json": training_record._Record,
        "thresholds": thresholds._File,
        "sanity.json, each finding": sanity_file.Finding,
        "metrics.json, each value": metrics_file.MetricValue,
        "transfer.json": transfer_file.Transfer,
        "explanation.json": explanation_file.Explained,
    }
    for name, kind in schemas.items():
        lines += [
            f"## {name}",
            "",
            *_table(("field", "must be"), [(f"`{key}`", _kind(one)) for key, one in _fields(kind)]),
        ]
    return "\n".join(lines)


def _fields(schema_class: Any) -> list[tuple[str, Any]]:
    hints = get_type_hints(schema_class, include_extras=True)
    names = hints if is_typeddict(schema_class) else [field.name for field in dataclasses.fields(schema_class)]
    return [(name, hints[name]) for name in names]


def _kind(kind: Any) -> str:
    """What a value must be, in words."""
    origin, arguments = get_origin(kind), get_args(kind)
    rule = next((one.words for one in getattr(kind, "__metadata__", ()) if hasattr(one, "words")), None)
    if rule is not None:
        return str(rule)
    if kind is type(None):
        return "null"
    if is_typeddict(kind) or dataclasses.is_dataclass(kind):
        return f"an object: {', '.join(name for name, _ in _fields(kind))}"
    if origin is None:
        return {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}.get(kind, "anything")
    inside = [_kind(one) for one in arguments if one is not Ellipsis] if "Literal" not in str(origin) else []
    if origin in (list, tuple) or "Sequence" in str(origin):
        return f"a list ({inside[0]})"
    if origin is dict or "Mapping" in str(origin):
        return f"an object ({inside[-1]} by name)"
    return " or ".join(inside) if inside else "one of " + ", ".join(map(repr, arguments))


def _shown(value: Any) -> str:
    return "`` {} ``".format(str("null" if value is None else value).replace("|", "\\|"))


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    if not rows:
        return []
    lines = [head, ("---",) * len(head), *(tuple(" ".join(str(cell).split()) for cell in row) for row in rows)]
    return [*(f"| {' | '.join(line)} |" for line in lines), ""]
