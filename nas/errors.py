"""Errors that are the user's to mend: one line each, naming the value, what is allowed and the remedy."""


class UserError(Exception):
    """Base of the errors that a command prints as one line, with exit code 2."""
