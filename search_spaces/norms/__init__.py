"""Norms: `(channels) -> nn.Module` over maps [batch, channels, height, width]."""
