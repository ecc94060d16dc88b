"""Where bytes go: one module per kind of destination."""

from bulkfetch.store.local import STATE, LocalStore, open_store
from bulkfetch.store.part import Part

__all__ = ["STATE", "LocalStore", "Part", "open_store"]
