"""``python -m pip_linkmode``: the same as ``pip-linkmode``."""

from __future__ import annotations

import sys

from pip_linkmode.cli.main import main

sys.exit(main())
