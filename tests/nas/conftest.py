"""That this file is here puts its folder on the path, also for tests of the folders below: they share its modules."""

from postgres import database, databases, postgres, store_url

__all__ = ["database", "databases", "postgres", "store_url"]
