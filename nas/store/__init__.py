"""The store: every fact of every study, in SQL."""

from nas.store.driving import Evicted
from nas.store.errors import StoreAway, StoreDamaged, StoreError
from nas.store.models import State
from nas.store.store import Store
from nas.store.writing import Ledger, News, Writer

__all__ = ["Evicted", "Ledger", "News", "State", "Store", "StoreAway", "StoreDamaged", "StoreError", "Writer"]
