"""Where bytes go: one module per kind of destination."""

from bulkfetch.store.local import STATE, LocalStore, Part

__all__ = ["STATE", "LocalStore", "Part"]
