"""Change pip: everything that knows its internals."""
