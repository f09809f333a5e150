"""The actions of a plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from pip_linkmode.link.primitives import Link
    from pip_linkmode.relink.report import Relinked

FOREIGN = "would get another owner or group"


class Share(NamedTuple):
    """Replace a file by a link."""

    link: Link
    chain: str
    """A key of :data:`pip_linkmode.link.linker.CHAINS`."""
    target_root: str
    primitive: str
    """The first of the chain that works from the store to the environment."""
    old: os.stat_result
    """The status of the file when the plan was made."""
    bytecode: Share | None = None
    """The replacement of its bytecode, which comes first."""


class Shared(NamedTuple):
    """Leave a file that is shared already."""

    path: str


class Keep(NamedTuple):
    """Leave a file as it is."""

    path: str
    reason: str
    is_error: bool = False


class Edited(NamedTuple):
    """Leave a file that differs from its RECORD."""

    path: str


Action = Share | Shared | Keep | Edited


def account(report: Relinked, action: Action) -> None:
    """Count an action that leaves a file."""
    if isinstance(action, Edited):
        report.edited.append(action.path)
    elif isinstance(action, Keep):
        count = report.fail if action.is_error else report.skip
        count(action.reason)
    else:
        report.already += 1


def reason_to_keep(link: Link, chain: str, errors: Iterable[str | None]) -> str:
    """Return the reason why a file cannot be shared.

    :param chain: a key of :data:`pip_linkmode.link.linker.CHAINS`
    :param errors: of the primitives of the chain
    """
    if link.wanted != link.mode:
        return "have other permissions than those in the store"
    if chain == "no_shared_inode":
        return FOREIGN
    for error in filter(None, errors):
        return f"cannot be linked: {error}"
    return "have as many links as the file system allows"
