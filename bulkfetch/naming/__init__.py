"""Destination names: a pure function of the entry and the layout, portable, and never outside the folder."""

from bulkfetch.naming.layouts import FIELDS, Layout, parse_layout, plan_destination, plan_path
from bulkfetch.naming.paths import ancestors, checked_path, collision_key, identity, with_suffix
from bulkfetch.naming.segments import clean_segment, split_ext

__all__ = [
    "FIELDS",
    "Layout",
    "ancestors",
    "checked_path",
    "clean_segment",
    "collision_key",
    "identity",
    "parse_layout",
    "plan_destination",
    "plan_path",
    "split_ext",
    "with_suffix",
]
