"""KAN bases: `(**options) -> nn.Module` with `count` functions, stacked by `forward(x, dim=-1)` along a new one."""
