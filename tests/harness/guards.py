"""Guards taken out one at a time, to see that a test notices.

    python -m tests.harness.guards [NAME...]

Each is removed in a copy of the repository, where the tests named must then fail. Exit status 1 when one
still passes, or when the text to remove is not in the source exactly once.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("bulkfetch", "tests", "samples", "benchmarks", "pyproject.toml", "README.md", "CHANGELOG.md")
LIMIT = 30.0  # seconds; a test that hangs without its guard has failed
PASSED, FAILED = 0, 1  # pytest's exit statuses; any other is no verdict on the guard


class Guard(NamedTuple):
    """A check in the product, and what shows that it is needed."""

    name: str
    row: str  # of the fault catalogue
    file: str  # below bulkfetch/
    text: str  # exactly once in the file
    without: str  # what stands there once the guard is gone
    test: str  # below tests/; must fail then


GUARDS = (
    Guard(
        "declared digest of a small file",
        "B32",
        "transfer/whole.py",
        "if wanted != (",
        "if None is (",
        "test_whole.py::test_both_ways_come_to_the_same_end[other digest declared]",
    ),
    Guard(
        "declared size of a small file",
        "I09",
        "transfer/whole.py",
        "entry.size is not None and size != entry.size",
        "False",
        "test_whole.py::test_both_ways_come_to_the_same_end[other size declared]",
    ),
    Guard(
        "a small file that is there stays",
        "K08",
        "store/local.py",
        "os.link(source, folder.prefix",
        "os.replace(source, folder.prefix",
        "test_whole.py::test_a_file_that_appeared_meanwhile_stays",
    ),
    Guard(
        "a range that was not asked for",
        "B21",
        "resume.py",
        'if not asked_range:\n        raise ProtocolViolation("the server sent',
        'if False:\n        raise ProtocolViolation("the server sent',
        "test_attempt_bodies.py::test_b21_a_part_that_was_not_asked_for",
    ),
    Guard(
        "Content-Range begins where asked",
        "R02",
        "resume.py",
        "head.range_start != part.offset or head.range_end is None",
        "head.range_end is None",
        "test_resume.py::test_an_answer_that_does_not_fit_means_starting_again",
    ),
    Guard(
        "If-Range goes with Range",
        "R06",
        "resume.py",
        ', ("If-Range", part.validator))',
        ",)",
        "test_attempt_resume.py::test_the_rest_is_asked_for_and_appended",
    ),
    Guard(
        "the 206 repeats the validator",
        "R07",
        "resume.py",
        "if not _is_same_version(part, head):",
        "if False:",
        "test_attempt_resume.py::test_r07_a_changed_file_behind_a_server_that_ignores_if_range",
    ),
    Guard(
        "a weak ETag pins nothing",
        "R08",
        "headers.py",
        ' and not head.etag.startswith("W/")',
        "",
        "test_attempt_resume.py::test_r08_a_weak_etag_pins_nothing",
    ),
    Guard(
        "bytes past the remembered offset are cut off",
        "R21",
        "store/local.py",
        "if size > keep:",
        "if False:",
        "test_attempt_resume.py::test_r21_bytes_past_the_remembered_offset_are_cut_off",
    ),
    Guard(
        "a slice is not the file",
        "R14",
        "transfer/body.py",
        "if part is None or plan.size is None or part.offset >= plan.size:",
        "if True:",
        "test_attempt_resume.py::test_r14_a_short_206_is_asked_on_until_the_total",
    ),
    Guard(
        "slices have an end",
        "R14",
        "transfer/body.py",
        "self._small <= _MOST_SMALL",
        "True",
        "test_attempt_resume.py::test_r14_little_by_little_is_bounded",
    ),
    Guard(
        "two lengths are one too many",
        "B09",
        "headers.py",
        "if len(lengths) > 1:",
        "if False:",
        "test_attempt_bodies.py::test_b09_two_lengths",
    ),
    Guard(
        "chunked is the only transfer coding",
        "B15",
        "headers.py",
        'if codings and codings != ["chunked"]:',
        "if False:",
        "test_attempt_bodies.py::test_b15_a_transfer_coding_that_was_not_asked_for",
    ),
    Guard(
        "a coded body reaches its end mark",
        "B16",
        "codings.py",
        "if not self._inflater.eof:",
        "if False:",
        "test_attempt_bodies.py::test_b16_half_a_gzip_stream_under_its_own_length",
    ),
    Guard(
        "an empty answer replaces nothing",
        "B25",
        "transfer/checks.py",
        "if found is not None and found.st_size > 0:",
        "if False:",
        "test_attempt_bodies.py::test_b25_an_empty_answer_does_not_replace_a_file",
    ),
    Guard(
        "a page is no archive",
        "B26",
        "transfer/checks.py",
        "if not task.entry.digests:  # a digest decides better",
        "if False:",
        "test_attempt_bodies.py::test_b26_a_login_page_is_no_archive",
    ),
    Guard(
        "the number of header lines",
        "B29",
        "transport/answers.py",
        'raise errors.ProtocolViolation(f"the answer has more than',
        'return fields\n        (f"the answer has more than',
        "test_attempt_bodies.py::test_b29_too_much_head",
    ),
    Guard(
        "the size of a head",
        "B29",
        "wire/head.py",
        "MOST_BYTES = 64 * 1024",
        "MOST_BYTES = 2**40",
        "test_wire.py::test_a_broken_answer_is_one_clear_error",
    ),
    Guard(
        "the declared digest",
        "B32",
        "transfer/body.py",
        "if got != wanted:",
        "if False:",
        "test_attempt_bodies.py::test_b32_wrong_bytes_of_the_right_length",
    ),
    Guard(
        "verified before the rename",
        "F19",
        "transfer/body.py",
        "        self._verify(part.offset)\n",
        "        part.finish(None, durable=False)\n"
        "        context.store.commit(part, task.path, replace=task.replace)\n"
        "        self._verify(part.offset)\n",
        "test_attempt_bodies.py::test_b32_wrong_bytes_of_the_right_length",
    ),
    Guard(
        "a file that is there stays",
        "K08",
        "store/local.py",
        "if not replace:\n            raise _taken(path)",
        "if False:\n            raise _taken(path)",
        "test_attempt_files.py::test_a_file_that_appeared_is_not_overwritten",
    ),
    Guard(
        "a part has one link",
        "F08",
        "store/local.py",
        " or found.st_nlink != 1",
        "",
        "test_attempt_resume.py::test_f08_a_part_that_is_no_plain_file_of_its_own_is_not_adopted",
    ),
    Guard(
        "folders are opened without following links",
        "F09",
        "store/folders.py",
        '_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)',
        '_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)',
        "test_attempt_files.py::test_f09_a_folder_that_leads_outside",
    ),
    Guard(
        "a path does not climb",
        "K07",
        "store/folders.py",
        'if segment in (".", ".."):',
        "if False:",
        "test_store.py::test_k07_a_path_that_climbs_is_refused",
    ),
    Guard(
        "the user's headers stay with the manifest's origin",
        "A01",
        "transfer/trail.py",
        "named = task.url == manifest_url or origin_of(manifest_url) == origin",
        "named = True",
        "test_attempt_redirects.py::test_a01_a02_the_users_headers_go_to_the_manifests_origin_alone",
    ),
    Guard(
        "https is not left for http",
        "A05",
        "transfer/trail.py",
        'if self.url.startswith("https:") and target.startswith("http:"):',
        "if False:",
        "test_attempt_redirects.py::test_a05_from_https_to_http",
    ),
    Guard(
        "a public server does not redirect to a private one",
        "A09",
        "transfer/trail.py",
        'self.is_public = self.is_public or is_public(reply.peer or "")',
        "self.is_public = False",
        "test_attempt_redirects.py::test_a09_a_public_server_cannot_redirect_to_a_private_one",
    ),
    Guard(
        "a decoder hands out small pieces",
        "X01",
        "codings.py",
        "self._inflater.decompress(data, _STEP)",
        "self._inflater.decompress(data)",
        "test_codings.py::test_x01_a_bomb_comes_in_small_pieces",
    ),
    Guard(
        "the longest Retry-After that is obeyed",
        "T03",
        "hosts.py",
        "if asked > policy.max_wait:",
        "if False:",
        "test_hosts.py::test_t03_a_wait_longer_than_max_wait_is_not_obeyed_but_told",
    ),
    Guard(
        "the bound of a phase",
        "C03",
        "watchdog.py",
        "if now > self.bound:",
        "if False:",
        "test_attempt_connections.py::test_c03_a_trickling_head_meets_its_bound",
    ),
    Guard(
        "the idle time of a body",
        "B03",
        "wire/connection.py",
        "self.lease.bound = time.monotonic() + self._idle_seconds\n        try:\n            count = self.fill()",
        "try:\n            count = self.fill()",
        "test_wire.py::test_a_broken_answer_is_one_clear_error",
    ),
    Guard(
        "what nobody wants is not waited for",
        "A07",
        "watchdog.py",
        "if now > self.spare:",
        "if False:",
        "test_attempt_redirects.py::test_a_redirect_that_gets_stuck_in_its_body_is_followed_all_the_same",
    ),
    Guard(
        "a deadline counts while a host is cooled",
        "T06",
        "hosts.py",
        "if task.deadline is not None and task.deadline <= now]",
        "if False]",
        "test_scheduler.py::test_a_deadline_passes_while_the_host_is_cooled",
    ),
    Guard(
        "a network that wants a login stops the host",
        "B26",
        "scheduler.py",
        "slot.shut_out(failure, now)",
        "pass",
        "test_portal.py::test_b26_a_captive_portal_is_told_once_and_not_asked_for_every_file",
    ),
    Guard(
        "a copy to another mount is announced",
        "F11",
        "store/crossing.py",
        "os.write(fd, os.fsencode(parent))",
        'os.write(fd, b"elsewhere")',
        "test_crossing.py::test_a_kill_while_a_file_is_copied_to_its_mount_leaves_a_stray_part[sub/file.bin-part-written:2]",
    ),
    Guard(
        "a sweep stays inside the destination",
        "F15",
        "store/crossing.py",
        "with folders.below(parent) as folder:\n                    os.unlink(folder.prefix + ",
        'with folders.below("") as folder:\n                    os.unlink(f"{root}/{parent}/" + ',
        "test_crossing.py::test_a_sweep_stays_inside_the_destination",
    ),
    Guard(
        "a program may end in the middle of a run",
        "P14",
        "watchdog.py",
        "if self._is_ending():",
        "if False:",
        "test_watchdog.py::test_a_program_that_ends_stops_its_run",
    ),
    Guard(
        "a damaged schema is no crash",
        "K06",
        "journal/opening.py",
        "except UnicodeDecodeError as exc:",
        "except ZeroDivisionError as exc:",
        "test_journal_file.py::test_a_journal_whose_schema_is_no_text_is_kept_aside",
    ),
    Guard(
        "the kernel's lock",
        "K01",
        "lock.py",
        "            _lock_file(fd)\n",
        "            pass\n",
        "test_lock.py::test_a_run_that_has_not_written_its_name_yet_keeps_others_out",
    ),
    Guard(
        "one lock in one process",
        "K04",
        "lock.py",
        "is lock\n\n    def remove",
        "is not None\n\n    def remove",
        "test_lock.py::test_a_second_lock_of_this_process_is_refused",
    ),
    Guard(
        "control characters are escaped",
        "L01",
        "safetext.py",
        "return _UNSAFE.sub(_escape_one, text)",
        "return text",
        "test_safetext.py::test_nothing_unsafe_survives_clean",
    ),
    Guard(
        "a 304 answers a condition alone",
        "B24",
        "resume.py",
        "head.status == 304 and asked_change",
        "head.status == 304",
        "test_respect_cache.py::test_an_unasked_304_is_a_failure_and_no_file",
    ),
    Guard(
        "a validator goes to the URL it came from",
        "B24",
        "transfer/trail.py",
        "held is not None and held.url == redact_url(self.url)",
        "held is not None",
        "test_respect_cache.py::test_a_redirect_that_leads_elsewhere_now_gets_no_condition",
    ),
    Guard(
        "a file changed meanwhile is not replaced",
        "K08",
        "transfer/held.py",
        "if (found.st_size, found.st_mtime_ns) == (held.size, held.mtime_ns):",
        "if True:",
        "test_respect_cache.py::test_a_file_changed_while_its_replacement_comes_is_not_overwritten",
    ),
    Guard(
        "userinfo is not shown",
        "L03",
        "safetext.py",
        'return _USERINFO.sub("://", text) if "@" in text else text',
        "return text",
        "test_safetext.py::test_planted_userinfo_is_removed",
    ),
)


def source_of(guard: Guard, root: Path = ROOT) -> Path:
    """Return the file a guard stands in."""
    return root / "bulkfetch" / guard.file


def occurrences(guard: Guard) -> int:
    """Return how often the text of a guard is in its file; anything but once is a mistake in the table."""
    return source_of(guard).read_text(encoding="utf-8").count(guard.text)


@contextmanager
def removed(guard: Guard, root: Path) -> Iterator[None]:
    """Take a guard out of the copy at `root` for a while."""
    path = source_of(guard, root)
    source = path.read_text(encoding="utf-8")
    path.write_text(source.replace(guard.text, guard.without), encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(source, encoding="utf-8")


def run_test(test: str, root: Path) -> int:
    """Run one test in the copy at `root`; returns pytest's exit status, `FAILED` for a hang."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(root),
        "PYTHONDONTWRITEBYTECODE": "1",  # an edit within one tick of the clock must not meet old bytecode
        "BULKFETCH_TEST_TRANSPORT": "requests",
    }
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n0", "-p", "no:cacheprovider", f"tests/{test}"]
    try:
        done = subprocess.run(
            command, cwd=root, env=environment, capture_output=True, timeout=LIMIT, check=False
        )
    except subprocess.TimeoutExpired:
        return FAILED
    return done.returncode


def verdict(guard: Guard, root: Path) -> str:
    """Say what becomes of a guard's test in the copy at `root` once the guard is gone."""
    if (count := occurrences(guard)) != 1:
        return f"NO: the text is there {count} times"
    if run_test(guard.test, root) != PASSED:
        return "NO: fails with it too"
    with removed(guard, root):
        status = run_test(guard.test, root)
    if status == PASSED:
        return "NO: still passes"
    return "yes" if status == FAILED else f"NO: pytest ended with {status}"


def main() -> int:
    """Run from the command line; exit status 1 when a guard is not missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="guards whose name holds one of these; default: all")
    options = parser.parse_args()
    chosen = [g for g in GUARDS if not options.names or any(name in g.name for name in options.names)]
    missed = 0
    print("| guard | row | test | fails without it |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="bulkfetch-guards-") as folder:
        root = Path(folder)
        for part in PARTS:
            copy_part(ROOT / part, root / part)
        for guard in chosen:
            answer = verdict(guard, root)
            missed += answer == "yes"
            print(f"| {guard.name} | {guard.row} | {guard.test} | {answer} |", flush=True)
    print(f"{missed} of {len(chosen)} guards are missed by a test when they are gone")
    return 0 if missed == len(chosen) else 1


def copy_part(source: Path, target: Path) -> None:
    """Copy a file or folder of the repository, without what was compiled."""
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    else:
        shutil.copy2(source, target)


if __name__ == "__main__":
    sys.exit(main())
