"""Read pip's links: the URL of a file, and the digest that an index names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

_DIGEST = re.compile(r"[0-9a-f]{64}")


def plain_url(link: Any) -> str:
    """Return the URL of a link without its fragment."""
    return str(link.url.partition("#")[0])


def sha256_of_link(link: Any) -> str | None:
    """Return the sha256 that an index or a URL names for a wheel."""
    if not link.is_wheel:
        return None
    found = link.hash if link.hash_name == "sha256" else None
    # pip 22.3 has the digests of a page in JSON there alone.
    found = found or getattr(link, "_hashes", {}).get("sha256")
    return found if found and _DIGEST.fullmatch(found) else None
