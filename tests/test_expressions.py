"""An expression compiled late finds what one compiled at once does."""

from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
import sys

import pytest

import bulkfetch
from bulkfetch.expressions import _Late, late

CASES = [("[a-z]+", 0, "abc"), ("A(B)", re.IGNORECASE, "xabx"), (rb"\d", 0, b"a1")]


@pytest.mark.parametrize(("text", "flags", "subject"), CASES, ids=["plain", "flags", "bytes"])
@pytest.mark.parametrize("method", ["match", "fullmatch", "search", "findall", "split"])
def test_it_finds_the_same(text, flags, subject, method):
    ours, theirs = late(text, flags), re.compile(text, flags)
    for _ in range(2):  # the first use compiles, the second does not
        found, wanted = getattr(ours, method)(subject), getattr(theirs, method)(subject)
        assert repr(found) == repr(wanted)
    assert (ours.pattern, ours.flags, ours.groups) == (theirs.pattern, theirs.flags, theirs.groups)


def test_what_is_wrong_with_it_shows_at_first_use():
    wrong = late("(")
    with pytest.raises(re.error, match="unterminated"):
        wrong.match("a")


def test_it_has_no_methods_of_its_own_making():
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        late("a").other  # noqa: B018


COMPILED = """
import sys, bulkfetch.expressions as module
kept = []
def keep(self, *args, make=module._Late.__init__):
    make(self, *args)
    kept.append(self)
module._Late.__init__ = keep
import bulkfetch.cli.get, bulkfetch.fetcher
print(len(kept) > 30, all(vars(one).keys() == {"_text", "_flags"} for one in kept))
"""


def test_nothing_is_compiled_before_it_is_wanted():
    done = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True, check=False)
    assert done.stdout == "True True\n", done.stderr


def test_each_of_ours_compiles():
    names = [known.name for known in pkgutil.walk_packages(bulkfetch.__path__, "bulkfetch.")]
    found = [
        expression
        for name in names
        if name not in ("bulkfetch.__main__", "bulkfetch.display.notebook")  # which runs; wants an extra
        for expression in vars(importlib.import_module(name)).values()
        if isinstance(expression, _Late)
    ]
    assert len(found) > 30
    assert all(expression.groups >= 0 for expression in found)
