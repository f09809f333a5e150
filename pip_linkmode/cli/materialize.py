"""``pip-linkmode materialize``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pip_linkmode.cli.command import (
    OK,
    PROBLEM,
    Command,
    Result,
    as_data,
    environment_arguments,
    site_packages_of,
)
from pip_linkmode.cli.progress import Progress
from pip_linkmode.pip_config import effective_settings
from pip_linkmode.relink.materialize import Materializing
from pip_linkmode.text import plural, size

if TYPE_CHECKING:
    import argparse


def _materialize(options: argparse.Namespace) -> Result:
    stores = effective_settings(sys.prefix, options.link_store).settings.stores
    materializing = Materializing(site_packages_of(options), stores)
    materializing.survey()
    with Progress("Materializing") as progress:
        found = materializing.run(progress.show)
    lines = []
    for one in found:
        made = f"{plural(one.files, 'file')} ({size(one.bytes)}) made private"
        lines += [
            one.site_packages,
            f"  {made if one.files else 'nothing to make private: no file is shared'}",
            *([f"  not done: {one.refused}"] if one.refused else []),
            *(f"  leads nowhere: {path}" for path in one.dangling),
            *(
                f"  left in the store, where a program has written it: {path}"
                for path in one.left_behind
            ),
            *(f"  {path}: {reason}" for path, reason in one.failed.items()),
        ]
    bad = any(one.refused or one.dangling or one.failed for one in found)
    code = PROBLEM if bad else OK
    return Result([as_data(one) for one in found], "\n".join(lines), code)


MATERIALIZE = Command(
    "materialize",
    "Give environments files of their own, before they are moved or shipped.\n\n"
    "Afterwards no link leads into a store, and no file is shared by its inode.",
    "pip-linkmode materialize ~/ComfyUI/.venv",
    environment_arguments,
    _materialize,
)
