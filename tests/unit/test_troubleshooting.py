"""docs/troubleshooting.md lists every warning and error, with its cause and remedy."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
PACKAGE = CHECKOUT / "pip_linkmode"
PAGE = CHECKOUT / "docs" / "troubleshooting.md"
VARIABLES = re.compile(
    r"\b(msg|message|reason|problem|hint|why|lost|stock|outcome)\b"
    r"|^(FOREIGN|_STALE|OUTSIDE|_KINDS|_STATES)$"
)
"""Names to which a message, or a part of one, is assigned."""
CALLS = re.compile(
    r"(\.warn|\.warning|\.skip|warnings\.append|notes\.append|stderr\.write|_fail)$"
)
"""Functions that print a message, or keep it for a report."""
FUNCTIONS = re.compile(
    r"why|reason|problem|explain|trouble|weakness|irregular|lost|refused|not_shared"
    r"|fetch|_download|^change$|_about$|^repair"
)
"""Names of functions that return a message, or a part of one."""
RETURNS = (ast.Return, ast.Yield)
NOTICES = re.compile(
    r"Kept|not known\.|not enabled|lead to no file|still takes|Not readable"
)
"""Lines of a report that need an explanation."""


def texts(node: ast.expr) -> list[str]:
    """Return the texts that an expression may have, with … in place of values."""
    match node:
        case ast.Constant(value=str(value)):
            return [re.sub(r"%s", "…", value)]
        case ast.JoinedStr():
            return ["".join((texts(part) or ["…"])[0] for part in node.values)]
        case ast.BinOp(op=ast.Add()):
            left, right = texts(node.left) or ["…"], texts(node.right) or ["…"]
            return [one + other for one in left for other in right]
        case ast.IfExp():
            return texts(node.body) + texts(node.orelse)
        case ast.Tuple(elts=parts) | ast.BoolOp(values=parts) | ast.Dict(values=parts):
            return [text for part in parts for text in texts(part)]
        case _:
            return []


def said(node: ast.AST, *, is_cli: bool) -> list[str]:
    """Return the messages that a statement or an expression makes."""
    parts: list[ast.expr] = []
    match node:
        case ast.Assign() if VARIABLES.search(ast.unparse(node.targets[0])):
            parts = [node.value]
        case ast.Raise(exc=ast.Call() as call):
            parts = call.args
        case ast.Call() if CALLS.search(ast.unparse(node.func)):
            parts = node.args
        case ast.FunctionDef() if FUNCTIONS.search(node.name):
            ways = [one for one in ast.walk(node) if isinstance(one, RETURNS)]
            parts = [one.value for one in ways if one.value]
        case ast.Subscript(value=ast.Attribute(attr="exceptions"), slice=key):
            parts = [key]
        case ast.JoinedStr() if is_cli:
            return [text for text in texts(node) if NOTICES.search(text)]
        case _:
            pass
    return [text for part in parts for text in texts(part)]


@cache
def messages() -> dict[str, str]:
    """Return every message of the package, with the module that has it."""
    found: dict[str, str] = {}
    for module in sorted(PACKAGE.rglob("*.py")):
        name = str(module.relative_to(PACKAGE))
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            for text in said(node, is_cli=name.startswith("cli/")):
                line = re.sub(r"…+", "…", " ".join(text.split())).lstrip(";, ")
                if (
                    len(re.findall(r"[A-Za-z][\w-]+", line)) > 1
                    and "import " not in line
                ):
                    found.setdefault(line, name)
    return found


def listed() -> list[str]:
    """Return the messages that the page lists: the lines of its blocks of text."""
    blocks = re.findall(r"(?ms)^```text\n(.*?)^```", PAGE.read_text("utf-8"))
    return [line for block in blocks for line in block.splitlines()]


def test_page_lists_every_message_once() -> None:
    made, lines = messages(), listed()
    new = [
        f"{line}    ({module})" for line, module in made.items() if line not in lines
    ]
    old = [line for line in lines if line not in made]
    advice = (
        f"Add to a block of text in {PAGE.name}, with its cause and remedy:",
        *new,
        f"Remove from {PAGE.name}:",
        *old,
    )
    assert not new, "\n".join(advice)
    assert not old, "\n".join(advice)
    assert sorted(set(lines)) == sorted(lines)


def test_each_section_has_messages_a_cause_and_a_remedy() -> None:
    _, *sections = PAGE.read_text("utf-8").split("\n### ")
    assert len(sections) > 20
    for section in sections:
        assert re.search(
            r"\A.+\n\n```text\n.+\n```\n\n\*\*Why:\*\* \S.*\*\*What to do:\*\* \S",
            section,
            re.DOTALL,
        ), section.partition("\n")[0]


def test_messages_are_found_in_the_source() -> None:
    """The ways in which the package says something, one example each."""
    assert {
        "the store … does not exist",
        "pip-linkmode is inactive: …",
        "symlinks would dangle: …",
        "the directory has a default ACL",
        "the store was filled under another umask",
        "were changed by another process",
    } <= messages().keys()
