"""Heads: `(features, classes, **options) -> nn.Module`, from a feature vector to the logits."""
