"""Make the environment that pip works on known to the stores that it uses."""

from __future__ import annotations

import sysconfig

from pip_linkmode.environments.copies import register_copy


def register_this_environment() -> None:
    """Register the running environment, if it is an unknown copy: see there."""
    for site_packages in {sysconfig.get_path(key) for key in ("purelib", "platlib")}:
        register_copy(site_packages)
