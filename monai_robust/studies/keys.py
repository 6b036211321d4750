"""What the parts of a study's file may say: their keys, and the names they use."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from monai_robust.errors import BadInputError, require_choice

__all__ = ["FIGURES", "check_adequate", "check_claim", "check_table", "mapping", "require_known", "with_keys"]

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
}
_CLAIM = {"text", "table", "column", "better", "than", "than_columns", "within", "sets"}
_ADEQUATE = {"table", "clean", "attacked", "size", "within", "arms"}
FIGURES = ("lines", "bars", "front")
"""Kinds of figures, see :mod:`monai_robust.studies.figures`."""
_OVER = ("mean", "auc_robust", "largest_gap")


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
    for column in table["columns"]:
        column = with_keys(column, _COLUMN, f"{where}: a column")
        if "over" in column:
            require_choice(f"{where}: over", column["over"], _OVER)
        odd = next((name for name in ("among", "by") if name in column and column.get("over") != "largest_gap"), None)
        if odd is not None:
            raise BadInputError(f"{where}: a column has {odd!r}, which is for over: largest_gap alone")
        require_known(
            where, "arm", [*column.get("among", []), *([column["minus_arm"]] if "minus_arm" in column else [])], arms
        )
    paper = mapping(table.get("paper"), f"{where}: paper")
    require_known(where, "set", [*table.get("sets", []), *paper], sets)
    rows = [arm for own in paper.values() for arm in mapping(own, f"{where}: paper")]
    require_known(where, "arm", [*(arm for line in table.get("joined", []) for arm in line), *rows], arms)
    return table


def check_claim(
    claim: Any, sets: Collection[str], arms: Collection[str], tables: Collection[str], path: str
) -> dict[str, Any]:
    """A claim with the name of its table, none of which nothing could be said.

    Args:
        claim: as the file has it, see :mod:`monai_robust.studies.claims`.
        sets, arms, tables: names of those there are.
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
    return claim


def check_adequate(rule: Any, arms: Collection[str], tables: Collection[str], where: str) -> dict[str, Any]:
    """The rule of the smallest adequate network, empty where a study asks for none.

    Args:
        rule: as the file has it, see :mod:`monai_robust.studies.adequate`.
        arms, tables: names of those there are.
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
    return rule


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
