"""The language of docstrings, comments, messages and documents: CONTRIBUTING.md."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
PACKAGE = CHECKOUT / "pip_linkmode"
DOCUMENTS = sorted([*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/*.md")])
PERSONS = r"what|who|whose|whoever|nobody|somebody|anybody"
ARCHAISMS = (
    r"anew|meanwhile|cannot be meant|is no [a-z]|are none|is none|of late|"
    r"is to be had|somebody else"
)
MOST_PERSONS = 2.2
"""Per 1,000 words of docstrings and comments, as in the model codebases."""
BUDGET: dict[str, int] = {
    "": 4,
    " functions": 3,
    "cli": 1,
    "environments": 6,
    "environments functions": 1,
    "hooks": 6,
    "hooks functions": 1,
    "install": 3,
    "install functions": 1,
    "link": 1,
    "maintenance": 11,
    "maintenance functions": 1,
    "prepare": 1,
    "relink": 2,
    "store": 1,
}
"""How many of PERSONS and ARCHAISMS each room may still have; may only fall."""
DOCUMENT_BUDGET: dict[str, int] = {
    "CHANGELOG.md": 2,
    "CONTRIBUTING.md": 1,
    "environments.md": 7,
    "clusters.md": 2,
    "filesystems.md": 1,
    "json.md": 2,
    "threat-model.md": 5,
}


def rooms() -> list[str]:
    return ["", *sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))]


def modules(room: str) -> list[Path]:
    return sorted((PACKAGE / room).glob("*.py"))


def constants(module: Path) -> tuple[list[str], list[str]]:
    """Return the docstrings of a module, and its other texts of two words and more."""
    described, others, known = [], [], set[int]()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            known.add(id(node.value))
            described.append(str(node.value.value))
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in known
            and re.search(r"[a-z] [a-z]", node.value)
        ):
            others.append(node.value)
    return described, others


def docstrings(module: Path) -> list[str]:
    return constants(module)[0]


def comments(module: Path) -> list[str]:
    lines = io.StringIO(module.read_text(encoding="utf-8")).readline
    return [
        token.string.lstrip("# ")
        for token in tokenize.generate_tokens(lines)
        if token.type == tokenize.COMMENT
    ]


def messages(module: Path) -> list[str]:
    return constants(module)[1]


def found(words: str, texts: list[str]) -> list[str]:
    pattern = re.compile(rf"\b({words})\b", re.IGNORECASE)
    return [text.strip() for text in texts for _ in pattern.finditer(text)]


@pytest.mark.parametrize("room", rooms())
def test_docstrings_and_comments_name_the_thing(room: str) -> None:
    texts = [t for one in modules(room) for t in (*docstrings(one), *comments(one))]
    assert len(found(f"{PERSONS}|{ARCHAISMS}", texts)) <= BUDGET.get(room, 0)


def test_docstrings_and_comments_read_like_the_fields_best() -> None:
    every = [one for room in rooms() for one in modules(room)]
    texts = [text for one in every for text in (*docstrings(one), *comments(one))]
    words = sum(len(text.split()) for text in texts)
    assert len(found(PERSONS, texts)) <= MOST_PERSONS * words / 1000


@pytest.mark.parametrize("room", rooms())
def test_messages_name_the_thing(room: str) -> None:
    texts = [text for one in modules(room) for text in messages(one)]
    assert found(f"{PERSONS}|{ARCHAISMS}", texts) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_documents_name_the_thing(document: Path) -> None:
    text = re.sub(
        r"```.*?```|`[^`]*`", "", document.read_text("utf-8"), flags=re.DOTALL
    )
    budget = DOCUMENT_BUDGET.get(document.name, 0)
    assert len(found(ARCHAISMS + "|whoever|nobody|anybody", [text])) <= budget


@pytest.mark.parametrize("room", rooms())
def test_functions_are_described_by_an_imperative(room: str) -> None:
    vague = re.compile(r"(What|Who|Whose|Whether|How|Why|Tell|Say)\b")
    bad = [
        f"{module.name}:{node.name}"
        for module in modules(room)
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
        and vague.match(ast.get_docstring(node) or "")
    ]
    assert len(bad) <= BUDGET.get(f"{room} functions", 0), bad
