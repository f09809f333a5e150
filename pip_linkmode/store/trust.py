"""Whether a store may be used: its owner, group and mode."""

from __future__ import annotations

import contextlib
import os
import stat

from pip_linkmode.errors import StoreRefusedError
from pip_linkmode.store.layout import PARTS
from pip_linkmode.store.parents import weak_directory


def is_shared(root: str, status: os.stat_result, *, trust_group: bool) -> bool:
    """Return whether a store that can be written to is that of a group.

    :raises StoreRefusedError: if others than we and a trusted group can write to it
    """
    if not hasattr(os, "geteuid"):  # pragma: no cover  # Windows
        return False
    group = stat.S_ISGID | stat.S_IWGRP
    ours = status.st_gid in {os.getegid(), *os.getgroups()}
    is_a_groups = status.st_mode & group == group and ours
    shared = is_a_groups and trust_group
    hint = "; --link-trust-group (PIP_LINK_TRUST_GROUP) trusts its group"
    if status.st_uid != os.geteuid() and not shared:
        msg = f"the store {root} belongs to another user{hint if is_a_groups else ''}"
        raise StoreRefusedError(msg)
    if status.st_mode & (stat.S_IWOTH if shared else stat.S_IWOTH | stat.S_IWGRP):
        remedy = hint if is_a_groups and not status.st_mode & stat.S_IWOTH else ""
        msg = f"the store {root} can be written to by others{remedy}"
        raise StoreRefusedError(msg)
    # Parts that a group could write are not private because the root is.
    for part in () if shared else PARTS:
        with contextlib.suppress(FileNotFoundError):
            if os.lstat(os.path.join(root, part)).st_mode & 0o022:
                msg = f"{part} of the store {root} can be written to by others"
                raise StoreRefusedError(msg)
    return shared


def check_parents(root: str, owner: int | None, *, trust_group: bool) -> None:
    """Refuse a store that another user can replace by renaming a directory above it.

    :param root: absolute path of the store
    :param owner: the user that owns it, if it exists
    :raises StoreRefusedError: if there is such a directory, or if it cannot be checked
    """
    try:
        owners = () if owner is None else (owner,)
        weak = weak_directory(root, owners=owners, trust_group=trust_group)
    except OSError as error:
        msg = f"the directories above the store {root} cannot be checked: {error}"
        raise StoreRefusedError(msg) from error
    if weak is not None:
        hint = ""
        if "group" in weak.reason:
            hint = ", trust the group by --link-trust-group (PIP_LINK_TRUST_GROUP)"
        msg = (
            f"another user can replace the store {root}: {weak.path} {weak.reason}. "
            f"Run: `{weak.remedy}`{hint}, or choose another store by --link-store"
        )
        raise StoreRefusedError(msg)
