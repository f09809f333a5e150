"""The command ``pip-linkmode``: one module for each subcommand."""
