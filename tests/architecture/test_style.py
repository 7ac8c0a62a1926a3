"""Signs that a room is going wrong, found in the syntax tree."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "gbveval"
FILES = sorted(SOURCE.rglob("*.py"))
LONGEST_FILE, LONGEST_FUNCTION = 500, 60
# Quantiles and tails of reference distributions live in one file; a p-value made elsewhere is a second way.
TAILS = {"stdtr", "stdtrit", "ndtri", "fdtrc", "fdtri", "chdtrc", "chdtri"}
TAIL_FILES = {"numerics/inference.py"}
# Special functions of distributions that are no inference: priors, mixtures, power of a test, simulation bands.
EXEMPT_ROOMS = (
    "numerics/priors.py",
    "numerics/mixtures.py",
    "numerics/hierarchy",
    "numerics/student_sites.py",
    "planning/",
    "design/",
)


def _id(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


@pytest.fixture(params=FILES, ids=_id)
def path(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def test_there_is_something_to_look_at() -> None:
    assert len(FILES) > 30


def test_files_are_short(path: Path) -> None:
    # The docstrings of a file are its documentation, which may be as long as it needs to be.
    tree = _tree(path)
    prose = sum(_docstring_lines(node) for node in ast.walk(tree) if isinstance(node, (ast.Module, ast.ClassDef)))
    prose += sum(_docstring_lines(node) for node in _functions(tree))
    lines = path.read_text(encoding="utf-8").count("\n") - prose
    assert lines <= LONGEST_FILE, f"{lines} lines besides docstrings"


def test_functions_are_short(path: Path) -> None:
    for node in _functions(_tree(path)):
        start = node.body[0].lineno + _docstring_lines(node)
        length = (node.end_lineno or start) - start + 1
        assert length <= LONGEST_FUNCTION, f"{node.name} has {length} lines"


def _docstring_lines(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module) -> int:
    first = node.body[0] if node.body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return (first.end_lineno or first.lineno) - first.lineno + 1
    return 0


def test_every_file_says_what_it_hides(path: Path) -> None:
    text = ast.get_docstring(_tree(path))
    assert text, "a file begins with one sentence saying what it hides"


def test_nothing_is_evaluated_or_unpickled(path: Path) -> None:
    inside_kit = _id(path).startswith("testing/")
    for node in ast.walk(_tree(path)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            roots = {name.split(".")[0] for name in names}
            assert not roots & {"yaml", "marshal", "shelve", "dill", "cloudpickle"}
            # joblib shares work between processes in one place; what it stores on disk is pickle.
            assert "joblib" not in roots or (_id(path) == "core/shards.py" and not roots & {"load", "dump", "Memory"})
            assert "pickle" not in roots or inside_kit
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            owner = node.func.value if isinstance(node.func, ast.Attribute) else None
            assert not (isinstance(node.func, ast.Name) and name in ("eval", "exec", "compile", "__import__"))
            assert not (name in ("eval", "query") and owner is not None), f"line {node.lineno}: {name}"
            assert name != "literal_eval"
            if name in ("loads", "load") and isinstance(owner, ast.Name):
                assert owner.id != "pickle" or inside_kit
                assert owner.id not in ("np", "numpy")
            keywords = {word.arg: word.value for word in node.keywords}
            for risky in ("shell", "allow_pickle"):
                value = keywords.get(risky)
                assert not (isinstance(value, ast.Constant) and value.value is True), risky


def test_no_numbers_that_stand_for_a_quantile(path: Path) -> None:
    known = (1.96, 1.959964, 1.645, 2.576, 1.282)
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, float):
            assert not any(abs(node.value - q) < 5e-5 for q in known), f"line {node.lineno}: {node.value}"


def test_nothing_is_left_to_do(path: Path) -> None:
    for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING):
            assert not re.search(r"\b(TODO|FIXME|XXX|HACK)\b", token.string), f"line {token.start[0]}"


def test_nothing_is_caught_blindly_or_asserted_of_users(path: Path) -> None:
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"line {node.lineno}: a bare except"


def test_p_values_and_quantiles_come_from_one_file(path: Path) -> None:
    if _id(path) in TAIL_FILES or _id(path).startswith(EXEMPT_ROOMS):
        return
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("scipy"):
            used = {alias.name for alias in node.names} & TAILS
            assert not used, f"line {node.lineno}: {', '.join(sorted(used))}"
            assert node.module != "scipy.stats", f"line {node.lineno}: scipy.stats"


def test_the_global_generator_is_never_used(path: Path) -> None:
    if _id(path).startswith("testing/"):
        return
    allowed = {"default_rng", "Generator", "SeedSequence", "PCG64", "Philox", "BitGenerator"}
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute) and node.value.attr == "random":
            owner = node.value.value
            if isinstance(owner, ast.Name) and owner.id in ("np", "numpy"):
                assert node.attr in allowed, f"line {node.lineno}: np.random.{node.attr}"
        if isinstance(node, ast.Import):
            assert "random" not in {alias.name for alias in node.names}


def test_nothing_prints_outside_the_command_line(path: Path) -> None:
    if _id(path).startswith("cli/"):
        return
    for node in ast.walk(_tree(path)):
        assert not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print")
