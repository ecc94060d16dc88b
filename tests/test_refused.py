"""What is refused before anything is asked: entries, options, and how they are told and recorded."""

from __future__ import annotations

import hashlib
import json
import os
import stat

import pytest


def test_refused_entries_are_on_record_and_told_with_their_line(server, command, tmp_path):
    server.add("/q1", body=b"q")
    manifest, dest = tmp_path / "ref.jsonl", tmp_path / "out"
    wanted = [("/q1", "ok.bin"), ("/q2", "../x"), ("/q3", "ok.bin")]
    manifest.write_text("\n".join(json.dumps({"url": server.url(url), "path": path}) for url, path in wanted))
    for _ in range(2):
        done = command("get", manifest, "-d", dest)
        assert done.returncode == 1
        assert f"{manifest}:2" in done.stderr
        assert f"{manifest}:3" in done.stderr
        told = json.loads(command("status", dest, "--json").stdout)
        assert (told["states"], told["failures"]) == ({"fetched": 1, "failed": 2}, {"path": 2})
    listed = command("failed", dest).stdout
    assert {json.loads(line)["path"] for line in listed.splitlines()} == {"../x", "ok.bin"}
    again = tmp_path / "again.jsonl"
    again.write_text(listed)
    assert command("get", again, "-d", dest).returncode == 1  # no way round the refusal
    assert sorted(path.name for path in dest.iterdir()) == [".bulkfetch", "ok.bin"]
    assert len(server.requests) == 1


def test_verify_says_when_there_was_nothing_to_verify(server, command, tmp_path):
    server.add("/a.bin", status=404)
    command("get", server.url("/a.bin"), "-d", tmp_path)
    done = command("verify", tmp_path)
    assert (done.returncode, "nothing to verify" in done.stderr) == (0, True)


def test_a_failure_since_then_does_not_hide_a_damaged_file_from_verify(server, command, tmp_path):
    server.add("/a.bin", body=b"one")
    dest, manifest = tmp_path / "out", tmp_path / "a.jsonl"
    row = {"url": server.url("/a.bin"), "path": "a.bin"}
    manifest.write_text(json.dumps(row))
    command("get", manifest, "-d", dest)
    manifest.write_text(json.dumps({**row, "sha256": hashlib.sha256(b"two").hexdigest()}))
    assert command("get", manifest, "-d", dest).returncode == 1
    done = command("verify", dest)
    assert (done.returncode, "1 file as recorded" in done.stderr) == (0, True)
    (dest / "a.bin").write_bytes(b"0ne")
    assert command("verify", dest).returncode == 1
    (dest / "a.bin").unlink()
    assert command("verify", dest).returncode == 0


@pytest.mark.skipif(os.name == "nt", reason="POSIX modes")
def test_the_state_folder_is_private(server, command, tmp_path):
    server.add("/a.bin", body=b"one")
    command("get", server.url("/a.bin"), "-d", tmp_path / "out")
    assert stat.S_IMODE((tmp_path / "out" / ".bulkfetch").stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--max-failures", "200%"), "neither a count nor a percentage"),
        (("--max-failures", "nan%"), "neither a count nor a percentage"),
        (("--max-failures", "-1"), "neither a count nor a percentage"),
        (("-H", "Host: x"), "the header Host is set by bulkfetch itself"),
        (("-H", "range: bytes=0-"), "the header range is set by bulkfetch itself"),
        (("-H", "Content-Length: 5"), "the header Content-Length is set by bulkfetch itself"),
        (("-d", ""), "an empty name is no folder"),
    ],
)
def test_options_that_make_no_sense_are_usage_errors(server, command, tmp_path, options, said):
    done = command("get", server.url("/a.bin"), "-d", tmp_path, *options)
    assert done.returncode == 2
    assert said in done.stderr
    assert server.requests == []
