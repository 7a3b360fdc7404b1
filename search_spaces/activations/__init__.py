"""Activations: `(channels, **options) -> nn.Module` that keeps the shape [batch, channels, ...]."""
