"""Records on stdout, and the files of events and failures."""

from __future__ import annotations

import io
import json
import os
import stat
import subprocess
import sys

import pytest

from bulkfetch import events
from bulkfetch.errors import UsageError
from bulkfetch.models import Entry, Failure, Outcome, Status
from bulkfetch.printing import EventsFile, FailedFile, ResultWriter, parse_print, path_prefix
from bulkfetch.printing.files import write_all
from bulkfetch.streams import flush_or_divert
from bulkfetch.summary import Summary

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX files and pipes")
full_device = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")  # noqa: PTH110 - a device
SEP = os.sep


def outcome(path="a/b.csv", status=Status.FETCHED, *, extra=None, entry=None, **values):
    entry = entry or Entry(
        ("https://u:p@h.example/a?token=s3cret",), extra=extra or {}, source="list.csv", line=7
    )
    return Outcome(entry, status, path, "https://h.example/a?token=***", key=b"k", **values)


def failed(**values):
    return outcome(
        status=Status.FAILED, failure=Failure("not-found", "404 Not Found", 404), attempts=2, **values
    )


def printed(fields, *outcomes, null=False, dest="."):
    stream = io.BytesIO()
    writer = ResultWriter(stream, parse_print(fields, null=null), dest)
    for one in outcomes:
        assert writer.write(one)
    assert writer.flush()
    return stream.getvalue()


@pytest.mark.parametrize(
    ("dest", "path", "line"),
    [
        (".", "a.csv", "a.csv"),
        ("data", "a/b.csv", f"data{SEP}a{SEP}b.csv"),
        ("data/", "a.csv", f"data{SEP}a.csv"),
        ("./data", "a.csv", f"data{SEP}a.csv"),
        ("../up", "a.csv", f"..{SEP}up{SEP}a.csv"),
        (".", "-rf", f".{SEP}-rf"),
        ("-d", "x", f".{SEP}-d{SEP}x"),
        (".", "目录.csv", "目录.csv"),
    ],
)
def test_paths_can_be_opened_from_here(dest, path, line):
    assert printed("path", outcome(path), dest=dest) == line.encode() + b"\n"


def test_an_absolute_destination_stays_absolute(tmp_path):
    assert printed("path", outcome("a"), dest=tmp_path) == os.fsencode(tmp_path / "a") + b"\n"
    root = tmp_path.anchor
    assert path_prefix(root) == root


@posix
def test_a_name_that_is_not_utf8_keeps_its_bytes():
    assert printed("path", outcome("a"), dest=os.fsdecode(b"d\xff")) == b"d\xff/a\n"
    assert printed("path", outcome("a\ud800")) == "a\ud800\n".encode("utf-8", "surrogatepass")


@pytest.mark.parametrize(("null", "end"), [(False, b"\n"), (True, b"\0")])
def test_records_end_as_asked(null, end):
    assert printed("path", outcome("a"), outcome("b"), null=null) == b"a" + end + b"b" + end


KINDS = [
    outcome("fetched"),
    outcome("unchanged", Status.UNCHANGED),
    outcome("there", Status.SKIPPED, reason="already fetched"),
    outcome("again", Status.SKIPPED, reason="listed before"),
    failed(path="failed"),
]


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ("path", "fetched unchanged there"),
        ("{path}{sha256}", "fetched unchanged there"),
        ("{status}", "fetched unchanged skipped skipped failed"),
        ("{failure.kind}", "    not-found"),
    ],
    ids=["path", "template", "status", "failure"],
)
def test_which_outcomes_are_printed(fields, names):
    assert printed(fields, *KINDS).decode().splitlines() == names.split(" ")


def test_json_prints_every_outcome_as_it_is():
    lines = printed("json", *KINDS).splitlines()
    assert [json.loads(line) for line in lines] == [one.to_record() for one in KINDS]


def test_urls_are_printed_without_their_secrets():
    assert printed("url", outcome()) == b"https://h.example/a?token=***\n"


@pytest.mark.parametrize(
    ("template", "record"),
    [
        (r"{path}\t{sha256}", "a.csv\tab12"),
        (r"{path}\\n\n{size}", "a.csv\\n\n5"),
        ("{{{path}}}", "{a.csv}"),
        ("{site}|{n}|{tags}|{gone}|{Dataset ID}", 'Köln|3|["x", 1]||d7'),
        ("{source}:{line} {attempts} {etag}", "list.csv:7 1 "),
        ("{status}{failure.kind}{failure.message}{failure.status}", "fetched"),
        ("{size} {sha256}", "5 ab12"),
        ("{warnings}{failure}", "one; two"),
    ],
)
def test_templates(template, record):
    extra = {"site": "Köln", "n": 3, "tags": ["x", 1], "Dataset ID": "d7", "size": "the user's"}
    one = outcome("a.csv", extra=extra, size=5, sha256="ab12", attempts=1, warnings=("one", "two"))
    assert printed(template, one).decode() == record + "\n"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("paht", "path, url, json"),
        ("", "names no field"),
        ("{}", "{sha256}"),
        ("{path", "expected '}'"),
        ("}", "Single '}'"),
        ("{path!r}", "a name in braces"),
        ("{size:>10}", "a name in braces"),
        (r"{path}\x", r"\x is not one of"),
        ("{path}\\", "is not one of"),
        ("{failure.reason}", "{failure.kind}"),
    ],
)
def test_a_template_that_cannot_be_meant_is_refused_at_once(template, said):
    with pytest.raises(UsageError) as refused:
        parse_print(template)
    assert said in str(refused.value)


def test_a_template_reaches_no_attributes():
    assert printed("{path.__class__}{0}", outcome()) == b"\n"


@pytest.mark.parametrize(
    ("null", "record"),
    [(False, rb"x\x0ay\x00z\x1b[31m" + b"\n"), (True, b"x\nyz\x1b[31m\0")],
    ids=["line", "null"],
)
def test_a_value_cannot_end_its_record(null, record):
    assert printed("{note}", outcome(extra={"note": "x\ny\0z\x1b[31m"}), null=null) == record


def test_nothing_is_sent_before_the_batch_is_flushed():
    stream = io.BytesIO()
    writer = ResultWriter(stream, parse_print("path"), ".")
    writer.write(outcome("a"))
    assert stream.getvalue() == b""
    writer.flush()
    writer.flush()
    assert stream.getvalue() == b"a\n"


@pytest.fixture
def pipe():
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            continue


def test_a_reader_that_went_away_ends_the_writing_quietly(pipe):
    reader, sender = pipe
    with os.fdopen(os.dup(sender), "wb", buffering=0) as stream:
        writer = ResultWriter(stream, parse_print("path"), ".")
        assert writer.write(outcome())
        assert writer.flush()
        os.close(reader)
        assert writer.write(outcome())
        assert not writer.flush()
        assert (writer.gone, writer.error) == (True, "")
        assert not writer.write(outcome())
        assert not writer.flush()


@full_device
def test_a_full_stdout_is_told(tmp_path):
    with open("/dev/full", "wb", buffering=0) as stream:  # noqa: PTH123 - a device
        writer = ResultWriter(stream, parse_print("path"), ".")
        writer.write(outcome())
        assert not writer.flush()
    assert "No space left" in writer.error


@pytest.mark.parametrize("stream", [None, io.BytesIO()], ids=["none", "closed"])
def test_a_stdout_that_is_closed_is_gone(stream):
    if stream is not None:
        stream.close()
    writer = ResultWriter(stream, parse_print("path"), ".")
    writer.write(outcome())
    assert not writer.flush()


@posix
def test_a_pipe_made_non_blocking_by_others_loses_nothing(pipe, tmp_path):
    reader, sender = pipe
    os.set_blocking(sender, False)
    received = tmp_path / "received"
    with received.open("wb") as file, os.fdopen(os.dup(sender), "wb") as out:
        cat = subprocess.Popen(["cat"], stdin=reader, stdout=file)
        writer = ResultWriter(out, parse_print("{n}"), ".")
        for number in range(60_000):
            writer.write(outcome(extra={"n": number}))
        assert writer.flush()
        os.close(sender)
    assert cat.wait(30) == 0
    assert received.read_bytes() == b"".join(b"%d\n" % number for number in range(60_000))


class Stubborn(io.BytesIO):
    """A stream whose first flush would block, over a pipe that says so."""

    def __init__(self, descriptor):
        super().__init__()
        self.fileno = lambda: descriptor

    def flush(self):
        if not os.get_blocking(self.fileno()):
            raise BlockingIOError


@posix
def test_a_flush_that_would_block_is_made_to_wait(pipe):
    os.set_blocking(pipe[1], False)
    stream = Stubborn(pipe[1])
    writer = ResultWriter(stream, parse_print("path"), ".")
    writer.write(outcome("a"))
    assert writer.flush()
    assert stream.getvalue() == b"a\n"
    assert os.get_blocking(pipe[1])


DIVERTED = """
import sys
from bulkfetch.streams import flush_or_divert
for stream in (sys.stdout, sys.stderr):
    try:
        print("x", file=stream, flush=True)
    except OSError:
        pass
flush_or_divert(sys.stdout, sys.stderr, None)
"""


@full_device
@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_full_stream_does_not_change_the_exit_status(name):
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, name: full}
        done = subprocess.run(
            [sys.executable, "-c", DIVERTED], env=environ, check=False, timeout=30, **streams
        )
    assert done.returncode == 0
    assert done.stderr in (None, b"x\n")


def test_diverting_leaves_a_good_stream_alone():
    stream = io.StringIO("kept")
    flush_or_divert(stream)
    assert stream.getvalue() == "kept"


def show(sink, *shown, summary=None):
    for one in shown:
        sink.show(events.Finished(one))
    if summary is not None:
        sink.show(events.RunFinished(summary))
    sink.refresh(1.0)


def test_events_are_written_whole_at_every_refresh(tmp_path):
    sink = EventsFile(tmp_path / "events")
    sink.show(events.RunStarted("data", 16))
    show(sink, outcome("a"))
    assert [json.loads(line)["event"] for line in sink.path.read_bytes().splitlines()] == [
        "run_started",
        "finished",
    ]
    sink.show(events.Notice("late"))
    sink.close()
    sink.close()
    assert json.loads(sink.path.read_bytes().splitlines()[-1]) == {
        "v": 1, "event": "notice", "message": "late", "level": "warning",
    }  # fmt: skip


@posix
@pytest.mark.parametrize("kind", [EventsFile, FailedFile])
@pytest.mark.parametrize("existing", [True, False])
def test_files_begin_anew_and_are_private(tmp_path, kind, existing):
    path = tmp_path / "file"
    if existing:
        path.write_text("old")
        path.chmod(0o644)
    sink = kind(path)
    show(sink, failed(), summary=Summary(complete=True))
    sink.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "old" not in path.read_text()
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("kind", [EventsFile, FailedFile])
def test_a_file_that_cannot_be_made_is_a_usage_error(tmp_path, kind):
    with pytest.raises(UsageError, match="cannot write"):
        kind(tmp_path / "no" / "folder")


@full_device
@pytest.mark.parametrize("kind", [EventsFile, FailedFile])
def test_a_full_file_is_told_and_harms_nothing(kind):
    sink = kind("/dev/full")
    show(sink, failed())
    show(sink, failed())
    sink.close()
    assert "No space left" in sink.error


def test_a_short_write_is_continued():
    class Short(io.BytesIO):
        def write(self, text):
            return super().write(text[:3])

    file = Short()
    write_all(file, b"0123456789")
    assert file.getvalue() == b"0123456789"


ENTRY = Entry(
    ("https://u:p@h.example/a?token=s3cret", "https://mirror.example/a"),
    path="x/a.csv", size=10, digests=(("sha256", "ab"), ("md5", "cd")),
    headers=(("Authorization", "Bearer s3cret"), ("Accept", "text/csv")),
    extra={"site": "Köln", "failure": {"kind": "old"}, "attempts": 9, "Header.Cookie": "x", "url": "wrong"},
)  # fmt: skip


def test_a_failure_is_a_row_that_can_be_fetched_again(tmp_path):
    sink = FailedFile(tmp_path / "failed.jsonl")
    show(sink, outcome("fine"), failed(entry=ENTRY), failed(entry=Entry(("http://h/only",))))
    sink.close()
    first, second = map(json.loads, sink.path.read_text().splitlines())
    assert first == {
        "site": "Köln", "url": list(ENTRY.urls), "path": "x/a.csv", "size": 10, "sha256": "ab", "md5": "cd",
        "attempts": 2, "failure": {"kind": "not-found", "status": 404, "message": "404 Not Found"},
    }  # fmt: skip
    assert second == {"url": "http://h/only", "path": "a/b.csv", "attempts": 2, "failure": first["failure"]}


def test_a_txt_file_holds_bare_urls_one_a_line(tmp_path):
    sink = FailedFile(tmp_path / "failed.TXT")
    show(sink, failed(entry=ENTRY), failed(entry=Entry(("http://h/a b\nhttp://forged/",))))
    sink.close()
    assert sink.path.read_text().splitlines() == [ENTRY.urls[0], "http://h/a%20b%0Ahttp://forged/"]


def test_failures_are_there_after_a_crash(tmp_path):
    sink = FailedFile(tmp_path / "failed.jsonl")
    show(sink, failed())
    assert json.loads((tmp_path / "failed.jsonl").read_text())["attempts"] == 2
    sink.close()


def test_an_older_list_can_be_read_while_the_new_one_grows(tmp_path):
    path = tmp_path / "failed.jsonl"
    path.write_text("the manifest being read")
    sink = FailedFile(path)
    show(sink, failed())
    assert path.read_text() == "the manifest being read"
    show(sink, summary=Summary(complete=True))
    sink.close()
    assert json.loads(path.read_text())["attempts"] == 2
    assert sink.path == path
    assert list(tmp_path.iterdir()) == [path]


def test_a_run_that_ends_early_leaves_both_lists(tmp_path):
    path = tmp_path / "failed.jsonl"
    path.write_text("older")
    sink = FailedFile(path)
    show(sink, failed(), summary=Summary(stopped="deadline"))
    sink.close()
    sink.close()
    assert path.read_text() == "older"
    assert sink.path.name == "failed.jsonl.new"
    assert json.loads(sink.path.read_text())["attempts"] == 2


@posix
def test_what_a_link_points_at_is_written_but_never_replaced(tmp_path):
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text("old")
    link.symlink_to(real)
    sink = FailedFile(link)
    show(sink, failed(), summary=Summary(complete=True))
    sink.close()
    assert link.is_symlink()
    assert json.loads(real.read_text())["attempts"] == 2


@posix
def test_a_link_planted_beside_an_older_list_is_not_followed(tmp_path):
    path, victim = tmp_path / "failed.jsonl", tmp_path / "victim"
    path.write_text("older")
    victim.write_text("mine")
    (tmp_path / "failed.jsonl.new").symlink_to(victim)
    FailedFile(path).close()
    assert victim.read_text() == "mine"


def test_a_failure_is_printed_with_its_kind_and_message():
    assert printed("{failure}", failed()) == b"not-found: 404 Not Found\n"


def test_print_of_an_unknown_field_is_no_silent_nothing(server, tmp_path, run_bulkfetch):
    server.add("/a.bin", body=b"x")
    done = run_bulkfetch("get", server.url("/a.bin"), "-d", tmp_path, "--print", "{path} {nosuch}")
    assert done.returncode == 2
    assert "{nosuch} is no field" in done.stderr
    assert "{sha256}" in done.stderr
    assert server.requests == []


def test_print_of_a_column_that_no_entry_has_is_told(server, tmp_path, run_bulkfetch):
    server.add("/a.bin", body=b"x")
    listed = f"url,site\n{server.url('/a.bin')},Ulm\n"
    command = ("get", "-", "-f", "csv", "-d", tmp_path, "--print", "{site}{nosuch}")
    done = run_bulkfetch(*command, stdin=listed)
    assert (done.returncode, done.stdout) == (0, "Ulm\n")
    assert "warning: --print {nosuch}: no field" in done.stderr
    assert "{site}" not in done.stderr
