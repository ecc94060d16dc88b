"""What a program may give for a field of `FetchConfig`."""

from __future__ import annotations

import dataclasses
import pickle

import pytest

import bulkfetch
from bulkfetch.config import FetchConfig
from bulkfetch.errors import UsageError

FIELDS = [field.name for field in dataclasses.fields(FetchConfig)]


def _type_of(value):
    return type(value).__name__


FLAGS = {"fsync", "respect_cache", "strict", "allow_html", "untrusted", "trace"}  # by their truth


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("rate", "5/s", 5.0),
        ("host_rate", "120/m", 2.0),
        ("limit_rate", "2M", 2 * 1024**2),
        ("max_size", "1.5G", 3 * 1024**3 // 2),
        ("min_speed", "0", 0),
        ("deadline", "10m", 600.0),
        ("idle_timeout", "30", 30.0),
    ],
)
def test_a_rate_as_text_is_no_type_error(name, text, value):
    config = FetchConfig(**{name: text})
    config.validate()
    assert getattr(config, name) == value
    assert getattr(dataclasses.replace(config, jobs=3), name) == value
    assert pickle.loads(pickle.dumps(config)) == config


@pytest.mark.parametrize("name", ["rate", "limit_rate", "max_size", "deadline"])
def test_a_text_that_is_no_quantity_is_a_usage_error_that_names_the_field(name, tmp_path):
    with pytest.raises(UsageError, match=f"^{name}: 'fast' is not a "):
        list(bulkfetch.fetch([], dest=tmp_path, **{name: "fast"}))


@pytest.mark.parametrize("name", [name for name in FIELDS if name not in FLAGS])
@pytest.mark.parametrize("value", [object(), [None], {1: 2}, b"5", True, None, float("nan")], ids=_type_of)
def test_no_wrong_type_raises_anything_but_a_usage_error(name, value):
    try:
        FetchConfig(**{name: value}).validate()
    except UsageError as exc:
        told = str(exc)
    else:
        told = name
    assert told.startswith(name)


@pytest.mark.parametrize(
    ("name", "value"),
    [("rate", object()), ("retries", "5"), ("jobs", None), ("window", True), ("headers", {"A": "b"}),
     ("headers", [("A", b"b")]), ("digest", []), ("dest", 5), ("auth", [1]), ("refresh_url", "cmd:x"),
     ("max_wait", float("nan")), ("backoff_cap", -1)],
)  # fmt: skip
def test_wrong_types_are_refused(name, value):
    with pytest.raises(UsageError, match=f"^{name} "):
        FetchConfig(**{name: value}).validate()
