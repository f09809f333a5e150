"""Get wheels into a store: hash, unpack, compile, check ahead."""
