"""The pure parsers under a fuzzer that looks for new branches (`pip install atheris`; no test needs it).

    python -m tests.harness.fuzz [--seconds 60] [TARGET...]

Each target takes any bytes; what it raises besides our own errors, or asserts, is a finding. Targets run in
processes of their own. Exit status 1 when anything was found.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from harness import TESTS

OURS = "bulkfetch"
LAYOUTS = ("flat", "tree", "{host}/{stem}{ext}", "{column}/{name}", "{index:06d}{ext}")
LONGEST = 8192  # bytes of one input
SLOWEST = 10  # seconds one input may take
DONE = re.compile(r"Done (\d+) runs? in (\d+) second")


def fuzz_answer(data: bytes) -> None:
    """Read a whole head; where the short way reads it, the long one must say the same."""
    from bulkfetch.errors import TransferError
    from bulkfetch.wire.head import check_begin, find_end, parse_answer, read_common
    from bulkfetch.wire.shapes import Shapes

    raw = bytearray(b"HTTP/1.1 200 OK\r\n" + data + b"\r\n\r\n")
    end = find_end(raw, 0, len(raw))
    shapes = Shapes(enough=0)
    short = read_common(raw, len(raw), shapes)
    assert read_common(raw, len(raw), shapes) == short, "its own shape says something else"
    try:
        check_begin(raw, 0, len(raw))
        long = parse_answer(bytes(raw[:end]), 0.0)
    except TransferError:
        assert short is None, "the short way takes what is refused"
        return
    if short is not None:
        assert short[1] == end, "the body begins elsewhere"
        assert long is not None
        assert short[0] == long, "another head"


def fuzz_head(data: bytes) -> None:
    """Read header fields that decide about a body."""
    from bulkfetch.errors import TransferError
    from bulkfetch.headers import choose_validator, parse_head

    names = ("Content-Length", "Content-Range", "Transfer-Encoding", "ETag", "Last-Modified", "Date",
             "Retry-After", "Content-Encoding", "Content-Type", "Location")  # fmt: skip
    lines = data.decode("latin-1").split("\n")
    pairs = [(names[ord(line[0]) % len(names)], line[1:]) for line in lines if line]
    try:
        head = parse_head(206, "", pairs, 1e9)
    except TransferError:
        return
    assert head.length is None or 0 <= head.length < 2**63
    if head.range_start is not None:
        assert head.range_end is not None
        assert 0 <= head.range_start <= head.range_end
        assert head.total is None or head.range_end < head.total
    assert head.retry_after is None or (head.retry_after >= 0 and math.isfinite(head.retry_after))
    validator = choose_validator(head)
    assert validator is None or validator.isprintable() or not validator.isascii()


def fuzz_values(data: bytes) -> None:
    """Read single values; none of these may raise at all."""
    from bulkfetch.headers import parse_content_range, parse_date, parse_etag, parse_retry_after

    text = data.decode("latin-1")
    parse_content_range(f"bytes {text}")
    parse_content_range(text)
    parse_etag(text)
    for value in (text, f"Sun, 06 Nov 1994 {text}", f"{text} GMT"):
        when = parse_date(value)
        assert when is None or math.isfinite(when)
        wait = parse_retry_after(value, 1e9)
        assert wait is None or (wait >= 0 and math.isfinite(wait))


def fuzz_manifest(data: bytes) -> None:
    """Read a manifest in the format that the first byte chooses, or the one that is found."""
    from bulkfetch.errors import LineError, ManifestError
    from bulkfetch.manifest import READERS, read_manifest
    from bulkfetch.models import BadLine
    from bulkfetch.naming import checked_path, plan_path
    from bulkfetch.urls import parse_url

    formats = (None, *READERS)
    name = formats[data[0] % len(formats)] if data else None
    try:
        found = list(read_manifest(io.BytesIO(data[1:]), format=name, base_url="http://h/d/"))
    except ManifestError:
        return
    for entry in found:
        if isinstance(entry, BadLine):
            assert entry.text.isprintable() or not entry.text.isascii()
            continue
        for url in entry.urls:
            assert parse_url(url) == url, "not canonical"
        with contextlib.suppress(LineError):  # a path that is refused
            path = plan_path(entry)
            assert checked_path(path) == path
        assert entry.size is None or entry.size >= 0


def fuzz_destination(data: bytes) -> None:
    """Lead from a URL to a destination, which must be inside and portable."""
    from bulkfetch.errors import LineError
    from bulkfetch.models import Entry
    from bulkfetch.naming import checked_path, plan_path
    from bulkfetch.urls import parse_url

    if not data:
        return
    text = data[1:].decode("utf-8", "surrogateescape")
    try:
        url = parse_url(f"http://h/{text}")
        path = plan_path(Entry((url,), extra={"column": text}), LAYOUTS[data[0] % len(LAYOUTS)], 3)
    except LineError:
        return
    assert checked_path(path) == path
    root = os.path.realpath("/tmp")
    inside = os.path.normpath(f"{root}/{path}")
    assert os.path.commonpath([root, inside]) == root != inside, "outside"


def fuzz_redirect(data: bytes) -> None:
    """Follow a Location, which leads to a canonical http(s) URL or nowhere."""
    from bulkfetch.errors import LineError
    from bulkfetch.urls import join_redirect, origin_of, parse_url

    try:
        target = join_redirect("https://example.org:8443/a/b?c", data.decode("latin-1"))
    except LineError:
        return
    assert target.startswith(("http://", "https://")), "another scheme"
    assert parse_url(target) == target, "not canonical"
    assert origin_of(target).host


def fuzz_body(data: bytes) -> None:
    """Undo a content coding, in small pieces."""
    from bulkfetch.codings import choose_decoder
    from bulkfetch.errors import TransferError

    if not data:
        return
    decoder = choose_decoder((("gzip", "deflate")[data[0] & 1],), "a.bin")
    assert decoder is not None
    given = 0
    try:
        for piece in decoder.decode(data[1:]):
            assert 0 < len(piece) <= 256 * 1024
            given += len(piece)
        decoder.finish()
    except TransferError:
        pass


def fuzz_text(data: bytes) -> None:
    """Make text safe to show and to store."""
    from bulkfetch.safetext import clean, redact, redact_url

    text = data.decode("utf-8", "surrogateescape")
    shown = clean(text, 80)
    assert len(shown) <= 80
    assert not re.search("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)
    for once in (redact(text), redact_url(text)):
        assert "s3cret-marker" not in once
    assert "s3cret-marker" not in redact(f"{text} http://h/?token=s3cret-marker")


TARGETS: dict[str, Callable[[bytes], None]] = {
    name.removeprefix("fuzz_"): target for name, target in list(globals().items()) if name.startswith("fuzz_")
}


# What the fuzzer begins with; it takes these apart.
SEEDS: dict[str, tuple[bytes, ...]] = {
    "answer": (
        b'Content-Length: 5\r\nETag: "v1"\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nConnection: keep-alive',
        b"Transfer-Encoding: chunked\r\nSet-Cookie: a=b\r\n folded\r\nContent-Type: text/html; charset=x",
    ),
    "head": (b'\x005\n\x01bytes 0-4/5\n\x03W/"a"\n\x06120', b"\x02chunked\n\x07gzip\n\x04Sun, 06 Nov 1994"),
    "values": (b"0-4/5", b"*/5", b'W/"a"', b"08:49:37 GMT", b"Sunday, 06-Nov-94 08:49:37", b"120"),
    "manifest": (
        b"\x00http://h/a\thttp://i/a\n# no\n//h/b",
        b'\x00{"url": ["http://h/a"], "path": "a/b", "size": 5, "sha256": "00", "header.X": "y"}',
        b'\x00url,path,size,md5\r\n"http://h/a","x ""y""",5,\r\nb,..,-1,zz\r\n',
        b"\x03url\tsize\nhttp://h/a\t5",
    ),
    "destination": (
        b"\x01a/../b%2Fc;d?e=f&g#h",
        b"\x00%C3%A9.tar.gz",
        b"\x03CON/aux.txt. /~",
        b"\x02\xff%00%0a",
    ),
    "redirect": (
        b"//user:pw@h:80/a/../b",
        b"?q=\xe9",
        b"https://xn--a/",
        b"http://[::1%25a]:0/",
        b"\\\\h\\a",
    ),
    "body": (
        b"\x00\x1f\x8b\x08" + bytes(6) + b"\xff\x03" + bytes(9),
        b"\x01x\x9c\x03" + bytes(5),
        b"\x01\x03\x00",
    ),
    "text": (b"https://u:p@h/a?token=x&sig=y \x1b]0;z\x07 \xe2\x80\xae", b"%3Ftoken%3Dx", b"a=b;key=c#jwt=d"),
}


def work(name: str, options: list[str]) -> None:
    """Fuzz one target in this process; the fuzzer ends it."""
    import atheris

    with atheris.instrument_imports(include=[OURS]):
        TARGETS[name](b"")  # imports what it needs
    atheris.Setup([sys.argv[0], *options], TARGETS[name])
    atheris.Fuzz()


def fuzz(name: str, seconds: int, folder: Path) -> bool:
    """Fuzz one target in a process of its own and print what came of it; False for a finding."""
    seeds = folder / name
    seeds.mkdir()
    for number, seed in enumerate(SEEDS[name]):
        (seeds / str(number)).write_bytes(seed)
    limits = [f"-max_total_time={seconds}", f"-max_len={LONGEST}", f"-timeout={SLOWEST}"]
    command = [
        sys.executable,
        "-m",
        "harness.fuzz",
        "--work",
        name,
        *limits,
        f"-artifact_prefix={folder}/",
        name,
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(TESTS.parent), str(TESTS)))}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, errors="replace", check=False
    )
    match = DONE.search(done.stderr)
    runs = f"{match[1]} inputs in {match[2]} s" if match else "ended early"
    print(f"{name:12} {runs}, {'nothing found' if done.returncode == 0 else 'FOUND'}", flush=True)
    if done.returncode:
        print(done.stdout[-2000:], done.stderr[-1000:])
    return done.returncode == 0


def main() -> int:
    """Run from the command line; exit status 1 when anything was found."""
    if sys.argv[1:2] == ["--work"]:
        work(sys.argv[2], sys.argv[3:])
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("targets", nargs="*", choices=[[], *TARGETS], metavar="TARGET")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bulkfetch-fuzz-") as folder:
        found = [name for name in options.targets or TARGETS if not fuzz(name, options.seconds, Path(folder))]
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
