"""Sparsity: `(**options) -> Callable[[nn.Module], None]`, masking the weights of a module in place."""
