"""The store: every fact of every study, in SQL."""

from nas.store.models import State
from nas.store.store import Store, StoreError
from nas.store.writing import Ledger, News, Writer

__all__ = ["Ledger", "News", "State", "Store", "StoreError", "Writer"]
