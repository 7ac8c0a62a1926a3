"""Reads the data of a case: filters, dropped rows and derived columns, in the order that the folder's README gives."""

from __future__ import annotations

import ast
import operator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tests.reference.compare import Unsupported

CONDITIONS = {
    "eq": operator.eq,
    "==": operator.eq,
    "ne": operator.ne,
    "!=": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    ">": operator.gt,
    "ge": operator.ge,
}


def read_csv(folder: Path, name: str) -> pd.DataFrame:
    """Return a CSV of the folder; blank and NA are missing."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.exists():
        raise Unsupported(f"the data file {name!r} is not below the folder")
    return pd.read_csv(path)


def condition(frame: pd.DataFrame, rule: dict[str, Any]) -> pd.Series:
    """Return which rows meet a condition; a missing entry meets none."""
    column = frame[rule["column"]]
    op, present = rule["op"], column.notna()
    if op == "not_missing":
        return present
    if op == "in":
        return present & column.isin(rule["value"])
    if op == "not_in":
        return present & ~column.isin(rule["value"])
    if op not in CONDITIONS:
        raise Unsupported(f"the filter {op!r} is not known")
    return present & CONDITIONS[op](column, rule["value"])


BINARY = {"add": np.add, "subtract": np.subtract, "multiply": np.multiply, "divide": np.divide}
COMPARE = {"gt": np.greater, "ge": np.greater_equal, "lt": np.less, "le": np.less_equal, "eq": np.equal}


def expression(frame: pd.DataFrame, expr: Any) -> Any:
    """Return the column that a nested {op, of} expression describes."""
    if isinstance(expr, str):
        return frame[expr]
    if expr is None:
        return np.nan
    if isinstance(expr, (int, float)):
        return expr
    op, parts = expr["op"], [expression(frame, part) for part in expr["of"]]
    if op in BINARY:
        return BINARY[op](*parts)
    if op in COMPARE:
        return COMPARE[op](*parts).astype(float)
    if op in ("log", "log1p"):
        # The logarithm of zero is chosen only where an `if` around it throws it away.
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log(parts[0]) if op == "log" else np.log1p(parts[0])
    if op == "rank":
        return parts[0].rank(method="average")
    if op == "not_missing":
        return parts[0].notna().astype(float)
    if op == "if":
        return pd.Series(np.where(np.asarray(parts[0]) == 1, parts[1], parts[2]), index=frame.index)
    raise Unsupported(f"the operation {op!r} is not known")


OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


def arithmetic(frame: pd.DataFrame, text: str) -> Any:
    """Return the value of a small arithmetic expression over columns, read from its syntax tree."""
    return _node(frame, ast.parse(text, mode="eval").body)


def _node(frame: pd.DataFrame, node: ast.AST) -> Any:
    if isinstance(node, ast.Name) and node.id in frame.columns:
        return frame[node.id]
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float, str)):
        return node.value
    if isinstance(node, ast.List | ast.Tuple):
        return [_node(frame, part) for part in node.elts]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_node(frame, node.operand)
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        return OPERATORS[type(node.op)](_node(frame, node.left), _node(frame, node.right))
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        left, right = _node(frame, node.left), _node(frame, node.comparators[0])
        if isinstance(node.ops[0], ast.In):
            return left.isin(right)
        if type(node.ops[0]) in OPERATORS:
            return OPERATORS[type(node.ops[0])](left, right)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("floor", "exp"):
        return getattr(np, node.func.id)(_node(frame, node.args[0]))
    raise Unsupported("an expression of the case is outside the grammar of its README")


def _as_number(value: Any) -> Any:
    return value.astype(float) if isinstance(value, pd.Series) and value.dtype == bool else value


def trial_frame(folder: Path, data: dict[str, Any]) -> pd.DataFrame:
    """Return the frame of a randomised-trial case: filter, drop, derive, aggregate, derive again."""
    frame = read_csv(folder, data["file"])
    for rule in data.get("filter", []):
        frame = frame[condition(frame, rule)]
    if data.get("drop_missing"):
        frame = frame.dropna(subset=data["drop_missing"])
    frame = frame.reset_index(drop=True)
    for new in data.get("derive", []):
        frame[new["name"]] = expression(frame, new["expr"])
    if data.get("aggregate"):
        grouped = frame.groupby(data["aggregate"]["by"], sort=True)
        frame = pd.DataFrame(
            {rule["name"]: getattr(grouped[rule["of"]], rule["fn"])() for rule in data["aggregate"]["compute"]}
        ).reset_index()
        for new in data.get("derive_after_aggregate", []):
            frame[new["name"]] = expression(frame, new["expr"])
    return frame


def panel_frame(folder: Path, data: dict[str, Any]) -> pd.DataFrame:
    """Return the frame of a difference-in-differences case: filter, derive, drop."""
    frame = read_csv(folder, data["file"])
    keep = pd.Series(True, index=frame.index)
    for rule in data.get("filter", []):
        keep &= condition(frame, rule) if isinstance(rule, dict) else arithmetic(frame, rule).astype(bool)
    frame = frame[keep].reset_index(drop=True)
    for new in data.get("derive", []):
        frame[new["name"]] = _as_number(arithmetic(frame, new["expr"]))
    if data.get("drop_missing"):
        frame = frame.dropna(subset=data["drop_missing"]).reset_index(drop=True)
    return frame
