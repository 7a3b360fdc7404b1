"""The named search spaces, one a file."""
