"""The changes that a mutation run makes: one operator, constant or statement of a function's body at a time.

Left alone are annotations, decorators, defaults, docstrings, f-strings, assertions, log calls and what an
error says: none of them is behaviour that a test should pin. Tables at the top of a module are left alone
too, as a mutant is put in place of a function that runs already (`session.py`).
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
SKIPPED = {"annotation", "returns", "decorator_list", "args", "type_params", "type_comment", "ctx"}
"""Fields of nodes that are no behaviour; `args` only of functions (the arguments of calls are walked)."""
LOGGERS = {"log", "logger", "_log", "LOG"}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True, slots=True)
class Change:
    """`replacement` for `node` in the module's tree, within the outermost function `function` (its qualified
    name, whose code begins at line `begins`). `lines` are the first and last line of the statement, or of its
    head where it has a body: what a test must run to notice."""

    function: str
    begins: int
    node: ast.AST
    replacement: ast.AST
    lines: tuple[int, int]

    @property
    def line(self) -> int:
        """Where the change stands."""
        return getattr(self.node, "lineno", self.lines[0])

    def __str__(self) -> str:
        return f"{_short(self.node)}  ->  {_short(self.replacement)}"


def changes(tree: ast.Module) -> list[Change]:
    """Every change of a module that is known here, in a fixed order."""
    return [change for name, function in _functions(tree.body, "") for change in _of_function(name, function)]


def mutated(source: str, index: int) -> tuple[ast.Module, Change]:
    """The tree of `source` with its change number `index` made, and that change."""
    tree = ast.parse(source)
    change = changes(tree)[index]
    return ast.fix_missing_locations(_Replacer(change).visit(tree)), change


def sample(source: str, count: int, seed: str) -> list[int]:
    """The numbers of `count` changes of `source`, the same ones for the same seed; all of them if 0."""
    known = range(len(changes(ast.parse(source))))
    if not count or count >= len(known):
        return list(known)
    return sorted(Random(seed).sample(known, count))


class _Replacer(ast.NodeTransformer):
    def __init__(self, change: Change) -> None:
        self._change = change

    def visit(self, node: ast.AST) -> ast.AST:
        if node is self._change.node:
            return ast.copy_location(self._change.replacement, node)
        return super().generic_visit(node)


def _functions(body: list[ast.stmt], inside: str) -> Iterator[tuple[str, ast.FunctionDef]]:
    """Each outermost function with its qualified name, methods included."""
    for statement in body:
        if isinstance(statement, FUNCTIONS):
            yield inside + statement.name, statement  # type: ignore[misc]
        elif isinstance(statement, ast.ClassDef):
            yield from _functions(statement.body, f"{inside}{statement.name}.")


def _of_function(name: str, function: ast.FunctionDef) -> Iterator[Change]:
    begins = min([function.lineno, *(each.lineno for each in function.decorator_list)])
    for statement in function.body:
        for node, lines in _walk(statement, (0, 0)):
            for replacement in _replacements(node):
                yield Change(name, begins, node, replacement, lines)


def _walk(node: ast.AST, lines: tuple[int, int]) -> Iterator[tuple[ast.AST, tuple[int, int]]]:
    """`node` and all below it that is behaviour, each with the lines of its statement."""
    if isinstance(node, (ast.Assert, ast.JoinedStr)) or _is_unimportant(node):
        return
    if isinstance(node, ast.stmt):
        lines = _head(node)
    yield node, lines
    if isinstance(node, ast.Raise):
        return
    for field, value in ast.iter_fields(node):
        if field in SKIPPED and not (field == "args" and isinstance(node, ast.Call)):
            continue
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, ast.AST):
                yield from _walk(each, lines)


def _is_unimportant(node: ast.AST) -> bool:
    """A docstring or a log call."""
    if not isinstance(node, ast.Expr):
        return False
    value = node.value
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
        return isinstance(value.func.value, ast.Name) and value.func.value.id in LOGGERS
    return isinstance(value, ast.Constant)


def _head(node: ast.stmt) -> tuple[int, int]:
    """First and last line of a simple statement, or of what stands above a statement's body."""
    first = node.lineno
    body = getattr(node, "body", None) or getattr(node, "cases", None)
    if not body:
        return first, node.end_lineno or first
    inner = body[0].pattern if isinstance(body[0], ast.match_case) else body[0]
    return first, max(first, inner.lineno - 1)


def _replacements(node: ast.AST) -> Iterator[ast.AST]:
    """What may stand in the place of `node`; never a part of the tree itself."""
    match node:
        case ast.Compare():
            for place, operator in enumerate(node.ops):
                new = copy.deepcopy(node)
                new.ops[place] = COMPARISONS[type(operator)]()
                yield new
        case ast.BoolOp():
            yield ast.BoolOp(
                ast.Or() if isinstance(node.op, ast.And) else ast.And(), copy.deepcopy(node.values)
            )
        case ast.UnaryOp(op=ast.Not()):
            yield copy.deepcopy(node.operand)
        case ast.BinOp() | ast.AugAssign() if type(node.op) in OPERATORS and not _is_text(node):
            new = copy.deepcopy(node)
            new.op = OPERATORS[type(node.op)]()
            yield new
        case ast.Constant(value=bool()):
            yield ast.Constant(not node.value)
        case ast.Constant(value=int() | float()):
            yield ast.Constant(node.value + 1)
        case ast.If() | ast.While() | ast.IfExp() if isinstance(
            node.test, (ast.Name, ast.Attribute, ast.Call)
        ):
            new = copy.copy(node)
            new.test = ast.UnaryOp(ast.Not(), node.test)
            yield new
        case ast.Return(value=ast.expr()) if not (isinstance(node.value, ast.Constant)):
            yield ast.Return(ast.Constant(None))
        case ast.Break():
            yield ast.Continue()
        case ast.Continue():
            yield ast.Break()
        case ast.Expr(value=ast.Call() | ast.Await()) | ast.Raise() | ast.Delete():
            yield ast.Pass()
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield ast.Pass()


def _is_text(node: ast.BinOp | ast.AugAssign) -> bool:
    """Whether text is joined, or a set of types made: another operator would only raise."""
    parts = [node.left, node.right] if isinstance(node, ast.BinOp) else [node.value]
    return any(isinstance(part, (ast.JoinedStr, ast.Constant)) and not _is_number(part) for part in parts)


def _is_number(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, (int, float))


def _short(node: ast.AST) -> str:
    """A node in one short line: of statements with a body, the head."""
    text = ast.unparse(ast.fix_missing_locations(copy.deepcopy(node))).partition("\n")[0]
    return text if len(text) <= 90 else f"{text[:87]}..."
