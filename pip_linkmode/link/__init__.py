"""Link files: clone, hardlink, symlink or copy, with fallback."""
