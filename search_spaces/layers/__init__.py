"""Layers: `(channels_in, channels_out, kernel=3, **options) -> nn.Module` that keeps height and width."""
