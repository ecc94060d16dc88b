"""What is no entry, and manifests that cannot be read: visible to programs and to scripts."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

import bulkfetch
from bulkfetch.events import LineRejected
from bulkfetch.journal import Journal
from bulkfetch.store import STATE


def test_what_cannot_be_an_entry_is_a_failed_outcome(tmp_path):
    given = ["example.org/a.csv", None, {}, 5]
    outcomes = list(bulkfetch.fetch(given, dest=tmp_path))
    assert [(o.status, o.entry.line) for o in outcomes] == [("failed", n) for n in (1, 2, 3, 4)]
    assert {o.failure.kind for o in outcomes if o.failure} == {"line"}
    assert outcomes[0].url == "example.org/a.csv"
    assert "int" in outcomes[3].failure.message
    assert json.dumps([o.to_record() for o in outcomes])


def test_bad_items_are_counted_as_bad_lines_and_told_among_good_ones(server, tmp_path):
    server.add("/a.bin", body=b"a")
    told = []
    config = bulkfetch.FetchConfig(dest=tmp_path)
    with bulkfetch.Fetcher(config, on_event=told.append) as fetcher:
        outcomes = list(fetcher.run([None, server.url("/a.bin"), "ftp://h/"]))
        summary = fetcher.summary
    assert sorted(o.status for o in outcomes) == ["failed", "failed", "fetched"]
    assert (summary.bad_lines, summary.failed, summary.entries, summary.exit_status) == (2, 0, 1, 3)
    assert summary.complete
    assert sum(isinstance(event, LineRejected) for event in told) == 2
    journal = Journal.open_readonly(tmp_path / STATE)
    assert journal.counts() == {"fetched": 1}
    journal.close()


def test_a_manifest_without_a_url_column_raises_out_of_the_iterator(tmp_path):
    (tmp_path / "bad.csv").write_text("id;url;sha256\n")
    with pytest.raises(bulkfetch.ManifestError, match="has no column"):
        list(bulkfetch.fetch(bulkfetch.read_manifest(str(tmp_path / "bad.csv")), dest=tmp_path / "out"))


def test_a_manifest_that_ends_early_raises_after_what_was_read(server, tmp_path):
    server.add("/a.bin", body=b"a")
    cut = tmp_path / "list.txt.gz"
    cut.write_bytes(gzip.compress(f"{server.url('/a.bin')}\n{'#' * 9000}\n".encode())[:-8])
    outcomes = bulkfetch.fetch(bulkfetch.read_manifest(cut), dest=tmp_path / "out")
    assert next(outcomes).status == "fetched"
    with pytest.raises(bulkfetch.ManifestError, match="ends early"):
        next(outcomes)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "id;url;sha256\n", 'has no column "url"'),
        ("a.json", "[\n]\n", "one JSON array"),
    ],
)
def test_a_manifest_that_can_never_be_read_is_a_usage_error(command, tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    done = command("get", tmp_path / name, "-d", tmp_path / "out")
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "again" not in done.stderr


@pytest.mark.parametrize(("status", "code"), [(404, 2), (503, 5)])
def test_a_remote_manifest_that_is_not_there_is_one_that_may_come_or_not(
    server, command, tmp_path, status, code
):
    server.add("/list.csv", status=status)
    done = command("get", "-i", server.url("/list.csv"), "-d", tmp_path / "out", "--retries", 0)
    assert done.returncode == code, done.stderr
    assert f"cannot fetch the manifest {server.url('/list.csv')}" in done.stderr
    assert ("run the same command again" in done.stderr) == (code == 5)


def test_a_manifest_after_good_ones_that_cannot_be_read_loses_nothing_of_them(server, command, tmp_path):
    server.add("/a.bin", body=b"a")
    good, bad = tmp_path / "a.txt", tmp_path / "b.csv"
    good.write_text(server.url("/a.bin"))
    bad.write_text("link\nx\n")
    done = command("get", good, bad, "-d", tmp_path / "out")
    assert done.returncode == 2
    assert "fetched 1 file" in done.stderr
    assert "has no column" in done.stderr
    assert Path(tmp_path, "out", "a.bin").read_bytes() == b"a"


def test_a_list_that_ends_early_is_resumable(server, command, tmp_path):
    server.add("/a.bin", body=b"a")
    cut = tmp_path / "list.txt.gz"
    cut.write_bytes(gzip.compress(f"{server.url('/a.bin')}\n{'#' * 9000}\n".encode())[:-8])
    done = command("get", cut, "-d", tmp_path / "out")
    assert done.returncode == 5
    assert "fetched 1 file" in done.stderr
    assert "ends early" in done.stderr


def test_bad_lines_of_a_list_are_no_results_of_the_command(server, command, tmp_path):
    server.add("/a.bin", body=b"a")
    done = command("get", server.url("/a.bin"), "ftp://h/x", "-d", tmp_path / "out", "--print", "json")
    assert done.returncode == 3
    assert [json.loads(line)["status"] for line in done.stdout.splitlines()] == ["fetched"]
