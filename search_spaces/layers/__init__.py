"""Layers: `(channels_in, channels_out, gain=RECTIFIED, **options) -> nn.Module` that keeps height and width.

`gain` is 1/E[x²] of the activation before the layer; a layer takes maps [batch, channels_in, height, width].
"""
