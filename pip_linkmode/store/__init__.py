"""The store: the format on disk, its entries and manifests."""
