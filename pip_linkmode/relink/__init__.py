"""Turn existing environments into links, and back."""
