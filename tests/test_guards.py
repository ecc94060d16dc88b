"""The table of guards is about the code as it is; `python -m tests.harness.guards` takes each of them out."""

from __future__ import annotations

import pytest
from faults_table import CATALOGUE
from harness.guards import GUARDS, ROOT, Guard, occurrences, removed, source_of

each_guard = pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)


@each_guard
def test_the_text_of_a_guard_is_in_the_source_exactly_once(guard):
    assert occurrences(guard) == 1, f"{guard.file}: {guard.text!r}"
    assert guard.row in CATALOGUE


@each_guard
def test_the_test_of_a_guard_is_there(guard):
    file, _, name = guard.test.partition("[")[0].partition("::")
    assert f"def {name}(" in (ROOT / "tests" / file).read_text(encoding="utf-8")


@each_guard
def test_the_source_without_a_guard_is_still_a_program(guard):
    source = source_of(guard).read_text(encoding="utf-8")
    compile(source.replace(guard.text, guard.without), guard.file, "exec")


def test_a_guard_is_put_back(tmp_path):
    (tmp_path / "bulkfetch").mkdir()
    path = tmp_path / "bulkfetch" / "a.py"
    path.write_text("if x:\n    raise")
    with removed(Guard("", "", "a.py", "if x:", "if False:", ""), tmp_path):
        assert path.read_text() == "if False:\n    raise"
    assert path.read_text() == "if x:\n    raise"
