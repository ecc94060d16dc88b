"""One owner per path: whose file it is that stands at a destination, over several runs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from bulkfetch import FetchConfig, Fetcher


def rows(folder: Path, server: Any, *pairs: tuple[str, str], **columns: Any) -> Path:
    """Write a list of (route, path) pairs; each route serves its own name."""
    for name, _ in pairs:
        server.add(f"/{name}", body=name.encode())
    lines = [json.dumps({"url": server.url(f"/{name}"), "path": path, **columns}) for name, path in pairs]
    manifest = folder / f"{'-'.join(name for name, _ in pairs)}.jsonl"
    manifest.write_text("\n".join(lines))
    return manifest


def states(run: Any, dest: Path) -> dict[str, int]:
    found: dict[str, int] = json.loads(run("status", dest, "--json").stdout)["states"]
    return found


def test_three_entries_with_one_path_are_refused_the_same_way_by_every_run(server, command, tmp_path):
    manifest = rows(tmp_path, server, ("first", "same.bin"), ("second", "same.bin"), ("third", "SAME.bin"))
    dest = tmp_path / "out"
    for _ in range(3):
        done = command("get", manifest, "-d", dest)
        assert done.returncode == 1, done.stderr
        assert "2 failed" in done.stderr
        assert [p.name for p in dest.iterdir() if p.is_file()] == ["same.bin"]
        assert (dest / "same.bin").read_bytes() == b"first"
    assert states(command, dest) == {"fetched": 1, "failed": 2}


def test_a_file_of_another_url_is_not_overwritten_and_is_not_already_fetched(server, command, tmp_path):
    dest, out = tmp_path / "out", tmp_path / "out" / "z.bin"
    one, two = rows(tmp_path, server, ("z1", "z.bin")), rows(tmp_path, server, ("z2", "z.bin"))
    assert command("get", one, "-d", dest).returncode == 0
    for _ in range(2):
        done = command("get", two, "-d", dest)
        assert done.returncode == 1
        assert f"z.bin is the file of {server.url('/z1')}" in done.stderr
        assert out.read_bytes() == b"z1"
    assert command("get", one, "-d", dest).returncode == 0
    assert command("verify", dest).returncode == 0


def test_existing_overwrite_replaces_the_file_of_another_url_and_drops_its_record(server, command, tmp_path):
    dest, out = tmp_path / "out", tmp_path / "out" / "z.bin"
    one, two = rows(tmp_path, server, ("z1", "z.bin")), rows(tmp_path, server, ("z2", "z.bin"))
    command("get", one, "-d", dest)
    assert command("get", two, "-d", dest, "--existing", "overwrite").returncode == 0
    assert out.read_bytes() == b"z2"
    assert states(command, dest) == {"fetched": 1}
    assert command("verify", dest).returncode == 0
    assert command("get", one, "-d", dest).returncode == 1
    assert out.read_bytes() == b"z2"
    assert command("get", one, "-d", dest, "--existing", "overwrite").returncode == 0
    assert out.read_bytes() == b"z1"


def test_an_overwrite_that_fails_leaves_a_file_that_is_nobodys(server, command, tmp_path):
    dest, out = tmp_path / "out", tmp_path / "out" / "z.bin"
    one, two = rows(tmp_path, server, ("z1", "z.bin")), rows(tmp_path, server, ("z2", "z.bin"))
    command("get", one, "-d", dest)
    server.add("/z2", status=404)
    assert command("get", two, "-d", dest, "--existing", "overwrite").returncode == 1
    assert out.read_bytes() == b"z1"
    assert command("get", two, "-d", dest).returncode == 1  # not "already there"
    server.add("/z2", body=b"z2")
    assert command("get", two, "-d", dest).returncode == 0
    assert out.read_bytes() == b"z2"


@pytest.mark.parametrize("order", [("z1", "z2"), ("z2", "z1")])
def test_overwrite_settles_two_lines_of_one_path_in_manifest_order(server, command, tmp_path, order):
    dest = tmp_path / "out"
    command("get", rows(tmp_path, server, ("z1", "z.bin")), "-d", dest)
    both = rows(tmp_path, server, *((name, "z.bin") for name in order))
    done = command("get", both, "-d", dest, "--existing", "overwrite")
    assert done.returncode == 1
    assert (dest / "z.bin").read_bytes() == order[0].encode()


@pytest.mark.parametrize("gone", ["deleted", "never came"])
def test_a_path_without_a_file_goes_to_the_url_the_list_names_now(server, command, tmp_path, gone):
    dest = tmp_path / "out"
    one, two = rows(tmp_path, server, ("z1", "z.bin")), rows(tmp_path, server, ("z2", "z.bin"))
    if gone == "never came":
        server.add("/z1", status=404)
    command("get", one, "-d", dest)
    (dest / "z.bin").unlink(missing_ok=True)
    assert command("get", two, "-d", dest).returncode == 0
    assert (dest / "z.bin").read_bytes() == b"z2"


def test_two_lines_of_one_path_far_apart_are_refused_too(server, tmp_path):
    server.add_generator(lambda request: None)
    server.add("/a", body=b"a")
    server.add("/b", body=b"b")
    fillers = [{"url": "http://127.0.0.1:9/x", "path": f"../{n}"} for n in range(3000)]
    ends = [{"url": server.url(f"/{name}"), "path": "z.bin"} for name in "ab"]
    for _ in range(2):
        with Fetcher(FetchConfig(dest=tmp_path)) as fetcher:
            told = {o.url: o.status for o in fetcher.run([ends[0], *fillers, ends[1]])}
        assert told[server.url("/a")] in ("fetched", "skipped")
        assert told[server.url("/b")] == "failed"
        assert (tmp_path / "z.bin").read_bytes() == b"a"


def fetched_once(server: Any, command: Any, tmp_path: Path) -> tuple[Path, Path]:
    server.add("/a.bin", body=b"content")
    dest = tmp_path / "out"
    assert command("get", server.url("/a.bin"), "-d", dest).returncode == 0
    return dest, dest / "a.bin"


def test_a_file_damaged_a_moment_ago_is_not_already_fetched(server, command, tmp_path):
    dest, file = fetched_once(server, command, tmp_path)
    before = file.stat().st_mtime_ns
    file.write_bytes(b"kontent")
    os.utime(file, ns=(before, before + 500_000_000))
    assert command("verify", dest).returncode == 1
    done = command("get", server.url("/a.bin"), "-d", dest)
    assert done.returncode == 0
    assert "fetched 1 file" in done.stderr
    assert file.read_bytes() == b"content"


def test_a_copied_destination_costs_a_hash_and_no_request(server, command, tmp_path):
    dest, file = fetched_once(server, command, tmp_path)
    os.utime(file, ns=(1, 10**18))
    done = command("get", server.url("/a.bin"), "-d", dest)
    assert "1 unchanged" in done.stderr
    assert "1 skipped" in command("get", server.url("/a.bin"), "-d", dest).stderr  # its new time is recorded
    assert len(server.requests) == 1
