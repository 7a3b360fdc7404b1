"""The place of Triton kernels, each beside its torch reference. There are none yet."""
