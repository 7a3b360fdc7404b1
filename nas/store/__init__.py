"""The store: every fact of every study, in SQL."""

from nas.store.models import State
from nas.store.store import Store, StoreError, Writer

__all__ = ["State", "Store", "StoreError", "Writer"]
