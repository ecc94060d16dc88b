"""What the fuzzer feeds is at least read without it; `python -m tests.harness.fuzz` needs atheris."""

from __future__ import annotations

import pytest
from harness.fuzz import SEEDS, TARGETS
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize("name", TARGETS)
def test_the_seeds_of_every_target_pass(name):
    assert SEEDS[name]
    for seed in (*SEEDS[name], b""):
        TARGETS[name](seed)


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=50)
@given(data=st.data())
def test_nothing_near_the_seeds_breaks_a_target(name, data):
    pieces = st.lists(st.sampled_from([*SEEDS[name], *(bytes([n]) for n in range(256))]), max_size=8)
    TARGETS[name](b"".join(data.draw(pieces)))
