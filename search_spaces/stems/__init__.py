"""Stems: `(channels_in, channels_out, stride, gain=LINEAR, **options) -> nn.Module`, from an image to first maps."""
