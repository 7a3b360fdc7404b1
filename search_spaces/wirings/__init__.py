"""Wirings: `(body, channels) -> nn.Module`, how a body that keeps its shape is joined to its input."""
