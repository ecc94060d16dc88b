"""A short soak: every outcome right, nothing leaked. The long form is `python -m tests.harness.soak`."""

from __future__ import annotations

import os

import pytest
from harness.soak import KINDS, soak

MOST = 2 if os.name == "posix" else 0


@pytest.mark.parametrize("processes", sorted({0, MOST}))
def test_x04_a_thousand_files_over_random_faults_end_right_and_leak_nothing(tmp_path, processes):
    seen = soak(1000, tmp_path, processes)
    assert seen["first wrong"] == []
    assert seen["outcomes"] == seen["entries"]
    assert set(seen["faults"]) == set(KINDS)
    assert seen["parts left"] == seen["faults"]["always-cut"]  # what came of them can be continued
    assert [name for name in seen["new ones"] if "eventpoll" not in name] == []  # that one is the server's
    assert seen["threads"][0] == seen["threads"][1]
