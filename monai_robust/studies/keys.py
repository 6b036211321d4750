"""What the parts of a study's file may say: their keys, and the names they use."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from monai_robust.errors import BadInputError, require_choice
from monai_robust.scalars import is_number

__all__ = [
    "FIGURES", "MEASURES", "NUMBERS", "check_adequate", "check_claim", "check_standard", "check_table", "label_of",
    "mapping", "pattern_of", "require_known", "with_keys",
]  # fmt: skip

_TABLE = {"title", "statistic", "columns", "sets", "scale", "digits", "figure", "joined", "paper"}
_COLUMN = {
    "perturbation",
    "measure",
    "statistic",
    "over",
    "severities",
    "label",
    "scale",
    "minus",
    "minus_arm",
    "among",
    "by",
    "line",
    "of",
    "at",
}
_CLAIM = {"text", "table", "column", "better", "than", "than_columns", "within", "sets"}
_ADEQUATE = {"table", "clean", "attacked", "size", "within", "arms"}
FIGURES = ("lines", "bars", "front")
"""Kinds of figures, see :mod:`monai_robust.studies.figures`."""
_OVER = ("mean", "auc_robust", "largest_gap")
NUMBERS = ("parameters", "seconds_per_epoch", "processor_seconds_per_epoch")
"""Measures that are numbers of a run, and in no way scores."""
MEASURES = (*NUMBERS, "triage")
_STANDARD = {"arm", "statistic", "at_least", "at_most"}
_SEVERITY = "<severity>"


def check_table(table: Any, sets: Collection[str], arms: Collection[str], where: str) -> dict[str, Any]:
    """A table of a page, none that nothing could draw, or that names a set or an arm there is none of.

    Args:
        table: as the file has it, see :mod:`monai_robust.studies.tables`.
        sets, arms: names of those there are.
        where: the file and the table, for the sentence.

    Raises:
        BadInputError: says what is wrong with it.
    """
    table = with_keys(table, _TABLE, where)
    for name in ("title", "statistic", "columns"):
        if not table.get(name):
            raise BadInputError(f"{where} has no {name}; write it down")
    if "figure" in table:
        require_choice(f"{where}: figure", table["figure"], FIGURES)
    _require_number(where, "scale", table.get("scale", 1))
    if type(table.get("digits", 0)) is not int:
        raise BadInputError(f"{where}: digits is {table['digits']!r}; it takes a whole number")
    for place, column in enumerate(table["columns"]):
        column = with_keys(column, _COLUMN, f"{where}: a column")
        if "line" in column:
            _check_line(column, table, place, arms, where)
        elif "measure" in column:
            require_choice(f"{where}: measure", column["measure"], MEASURES)
        elif not column.get("perturbation"):
            raise BadInputError(f"{where}: a column has no perturbation, measure or line; write down one")
        _require_number(where, "scale of a column", column.get("scale", 1))
        _check_severities(column.get("severities", []), where)
        pattern_of(column, where)
        if "over" in column:
            require_choice(f"{where}: over", column["over"], _OVER)
        odd = next((name for name in ("among", "by") if name in column and column.get("over") != "largest_gap"), None)
        if odd is not None:
            raise BadInputError(f"{where}: a column has {odd!r}, which is for over: largest_gap alone")
        require_known(
            where, "arm", [*column.get("among", []), *([column["minus_arm"]] if "minus_arm" in column else [])], arms
        )
    paper = mapping(table.get("paper"), f"{where}: paper")
    for own in paper.values():
        for arm, printed in mapping(own, f"{where}: paper").items():
            for label in mapping(printed, f"{where}: paper's {arm}"):
                _require_label(f"{where}: paper's {arm}", label, table)
    require_known(where, "set", [*table.get("sets", []), *paper], sets)
    rows = [arm for own in paper.values() for arm in mapping(own, f"{where}: paper")]
    require_known(where, "arm", [*(arm for line in table.get("joined", []) for arm in line), *rows], arms)
    return table


def check_claim(
    claim: Any, sets: Collection[str], arms: Collection[str], tables: Mapping[str, Any], path: str
) -> dict[str, Any]:
    """A claim with the name of its table, none of which nothing could be said.

    Args:
        claim: as the file has it, see :mod:`monai_robust.studies.claims`.
        sets, arms: names of those there are.
        tables: by name.
        path: of the file, for the sentence.

    Raises:
        BadInputError: says what is wrong with it.
    """
    where = f"{path}: claim {claim.get('text', claim) if isinstance(claim, Mapping) else claim!r}"
    claim = {"table": next(iter(tables), None), **with_keys(claim, _CLAIM, where)}
    for name in ("text", "column", "better"):
        if not claim.get(name):
            raise BadInputError(f"{where} has no {name}; write it down")
    if bool(claim.get("than")) == bool(claim.get("than_columns")):
        raise BadInputError(f"{where} needs one of than (arms) and than_columns (labels of its table)")
    require_known(where, "set", claim.get("sets", []), sets)
    require_known(where, "arm", [claim["better"], *claim.get("than", ())], arms)
    require_known(where, "table", [claim["table"]], tables)
    _require_number(where, "within", claim.get("within", 0))
    by_set = claim["column"] if isinstance(claim["column"], Mapping) else dict.fromkeys(sets, claim["column"])
    require_known(where, "set", by_set, sets)
    missing = next((one for one in claim.get("sets", sets) if one not in by_set), None)
    if missing is not None:
        raise BadInputError(f"{where} has no column for the set {missing!r}; give one, or name its sets")
    for label in [*by_set.values(), *claim.get("than_columns", ())]:
        _require_label(where, label, tables[claim["table"]])
    return claim


def check_standard(rule: Any, arms: Collection[str], where: str) -> dict[str, Any] | None:
    """The clean score without which a data set's tables are pilots, None where there is no such rule.

    Raises:
        BadInputError: says what is wrong with it.
    """
    if rule is None:
        return None
    rule = with_keys(rule, _STANDARD, f"{where}: standard")
    for name in ("arm", "statistic"):
        if not rule.get(name):
            raise BadInputError(f"{where}: standard has no {name}; write it down")
    require_known(f"{where}: standard", "arm", [rule["arm"]], arms)
    if ("at_least" in rule) == ("at_most" in rule):
        raise BadInputError(f"{where}: standard needs one of at_least (of a score) and at_most (of an error)")
    for name in ("at_least", "at_most"):
        _require_number(f"{where}: standard", name, rule.get(name, 0))
    return rule


def check_adequate(rule: Any, arms: Collection[str], tables: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The rule of the smallest adequate network, empty where a study asks for none.

    Args:
        rule: as the file has it, see :mod:`monai_robust.studies.adequate`.
        arms: names of those there are.
        tables: by name.
        where: the file, for the sentence.

    Raises:
        BadInputError: says what is wrong with it.
    """
    rule = with_keys(rule, _ADEQUATE, where)
    if rule:
        missing = sorted(_ADEQUATE - set(rule))
        if missing:
            raise BadInputError(f"{where} has no {missing[0]}; write it down")
        require_known(where, "arm", rule["arms"], arms)
        require_known(where, "table", [rule["table"]], tables)
        _require_number(where, "within", rule["within"])
        for name in ("clean", "attacked", "size"):
            _require_label(where, rule[name], tables[rule["table"]])
    return rule


def label_of(column: Mapping[str, Any]) -> str:
    """The label of a column, with ``{severity}`` where it stands for several: its own, or the usual one."""
    if "label" in column:
        return str(column["label"])
    if column.get("measure") == "triage":
        return "without the most sensitive fifth"
    if "measure" in column:
        return str(column["measure"]).replace("_", " ")
    if "line" in column:
        return f"{column['of']} on the line, at the same {column['at']}"
    name, over = str(column["perturbation"]), column.get("over")
    if over == "auc_robust":
        return "AUC_robust"
    return name if over == "mean" or name == "clean" else f"{name} {{severity}}"


def pattern_of(column: Mapping[str, Any], where: str) -> re.Pattern[str]:
    """What the labels of a column look like, of which one with ``{severity}`` has several.

    Raises:
        BadInputError: for a label with another place to be filled in.
    """
    label = label_of(column)
    try:
        text = label.format(severity=_SEVERITY)
    except (IndexError, KeyError, ValueError) as error:
        raise BadInputError(f"{where}: the label {label!r} has a place for something else than {{severity}}") from error
    return re.compile(re.escape(text).replace(re.escape(_SEVERITY), r"\S+"))


def _require_label(where: str, label: Any, table: Mapping[str, Any]) -> None:
    """Refuse a label that no column of a table can have."""
    if not any(pattern_of(column, where).fullmatch(str(label)) for column in table["columns"]):
        raise BadInputError(f"{where} names the column {label!r}, which its table {table['title']!r} does not have")


def _check_line(
    column: Mapping[str, Any], table: Mapping[str, Any], place: int, arms: Collection[str], where: str
) -> None:
    """Refuse a column of a line through unknown arms, or of columns that do not stand before it."""
    odd = next((name for name in column if name not in ("line", "of", "at", "label")), None)
    if odd is not None:
        raise BadInputError(f"{where}: a column of a line has {odd!r}, and takes of, at and label alone")
    if not isinstance(column["line"], list) or len(column["line"]) < 2:
        raise BadInputError(f"{where}: the line is {column['line']!r}; it takes a list of two arms or more")
    require_known(f"{where}: the line", "arm", column["line"], arms)
    for name in ("of", "at"):
        if name not in column:
            raise BadInputError(f"{where}: a column of a line has no {name}; give the label of a column before it")
        _require_label(f"{where}: the line's {name}", column[name], {**table, "columns": table["columns"][:place]})


def _require_number(where: str, what: str, value: Any) -> None:
    if not is_number(value):
        raise BadInputError(f"{where}: {what} is {value!r}; it takes a number")


def _check_severities(values: Any, where: str) -> None:
    if not isinstance(values, list):
        raise BadInputError(f"{where}: severities is {values!r}; it takes a list of numbers")
    for value in values:
        _require_number(where, "one of severities", value)


def require_known(where: str, what: str, names: Iterable[Any], known: Collection[str]) -> None:
    """Refuse the first of some names that is not known, with those that are."""
    odd = next((name for name in names if name not in known), None)
    if odd is not None:
        raise BadInputError(f"{where} names the {what} {odd!r}, which there is none of; there are {', '.join(known)}")


def mapping(content: Any, where: str) -> dict[str, Any]:
    """Names with values, none where nothing is said; anything else is refused."""
    if content is None:
        return {}
    if not isinstance(content, Mapping):
        raise BadInputError(f"{where} is {content!r:.80}; it must be names with values")
    return {str(name): value for name, value in content.items()}


def with_keys(content: Any, known: set[str], where: str) -> dict[str, Any]:
    """Names with values, each of which something reads."""
    found = mapping(content, where)
    odd = next((name for name in found if name not in known), None)
    if odd is not None:
        raise BadInputError(f"{where} has {odd!r}, which nothing reads; there are {', '.join(sorted(known))}")
    return found
