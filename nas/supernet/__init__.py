"""Weight sharing: a bank of tensors of which ordinary networks use slices, its training, and a search in it."""
