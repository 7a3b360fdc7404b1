"""Ways into other programs, for those who would rather stay in them."""
