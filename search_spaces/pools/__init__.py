"""Pools: `(channels, size, **options) -> nn.Module`, from maps of `size` (height, width) to [batch, out_features]."""
