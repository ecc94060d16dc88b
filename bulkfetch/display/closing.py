"""The words a run ends with."""

from __future__ import annotations

import shlex
import signal

from bulkfetch.formatting import format_count, format_duration, format_number_of, format_size
from bulkfetch.safetext import clean
from bulkfetch.summary import Summary

KINDS_SHOWN = 3
# kind -> what it means, and whether running the same command again may help
KINDS: dict[str, tuple[str, bool]] = {
    "auth": ("the server wants other credentials, or refuses ours", False),
    "connect": ("no connection could be made", True),
    "content": ("a page or nothing came where a file was expected", False),
    "deadline": ("the entry's own time ran out", True),
    "decode": ("the body came damaged", True),
    "deferred": ("the host asks for a long wait; try again later", True),
    "digest": ("the bytes are not those the manifest promises", True),
    "disk": ("a file could not be written", False),
    "disk-full": ("no space left; make room first", True),
    "dns": ("the host name was not found", True),
    "drift": ("not what the lock file pins", False),
    "exists": ("another file is in the way; see --existing", False),
    "host-down": ("the host did not answer", True),
    "internal": ("an error of bulkfetch itself; please report it", False),
    "login": ("the network wants a login first", True),
    "not-found": ("the server has no such file", False),
    "not-http": ("the answer was not HTTP", True),
    "path": ("the destination cannot be written", False),
    "protocol": ("the answer breaks HTTP", False),
    "range": ("the server sent another part than asked for", True),
    "redirect": ("a redirect that is not followed", False),
    "reset": ("the connection was lost", True),
    "robots": ("the host's robots.txt does not allow it", False),
    "server": ("the server had an error of its own", True),
    "size": ("the length is not the one the manifest declares", False),
    "slow": ("slower than --min-speed", True),
    "status": ("the server refused", False),
    "stopped": ("the run ended first", True),
    "throttled": ("the host asks to be left alone for a while", True),
    "timeout": ("no answer in time", True),
    "tls": ("the certificate or the handshake was refused", False),
    "too-large": ("larger than --max-size", False),
    "truncated": ("the body ended too early", True),
    "url": ("the URL cannot be asked for", False),
}
_NONE_GIVEN = (
    "no credentials were given, and the server wants some or forbids it;"
    " give them as auth of the host in --config, or by -H"
)
_NOT_THERE = "the credentials configured could not be had (see the lines above), so no server was asked"
_SOME_GIVEN = "the server refuses our credentials, or there were none to give"
AGAIN = "run the same command again"


def format_summary(summary: Summary, *, lasts: bool = True) -> str:
    """Return one to eight lines of plain text: what was done, what failed and why, and how to go on.

    Args:
        summary: the totals.
        lasts: the destination is there after the run.
    """
    lines = [_first_line(summary), *_failures(summary)]
    if summary.bad_lines:
        lines.append(f"{format_number_of(summary.bad_lines, 'manifest line')} could not be read")
    if stop := _stop(summary, lasts=lasts):
        lines.append(stop)
    elif lasts and (advice := _advice(summary)):
        lines.append(advice)
    return "\n".join(lines)


def _first_line(summary: Summary) -> str:
    if not summary.finished and not summary.stopped and not summary.signal:
        return "nothing to fetch"
    counts = [f"fetched {format_number_of(summary.fetched, 'file')}"]
    counts += [
        f"{format_count(count)} {word}"
        for count, word in (
            (summary.unchanged, "unchanged"),
            (summary.skipped, "skipped"),
            (summary.failed, "failed"),
        )
        if count
    ]
    return f"{', '.join(counts)}: {_volume(summary)}"


def _volume(summary: Summary) -> str:
    words = f"{format_size(summary.stored)} in {format_duration(summary.seconds)}"
    details = []
    if (summary.stopped or summary.signal) and summary.received > summary.stored:
        details.append(f"{format_size(summary.received)} received")
    if summary.received and summary.seconds > 0:
        details.append(f"{format_size(summary.received / summary.seconds)}/s")
    if summary.retries:
        details.append(format_number_of(summary.retries, "retry", "retries"))
    return f"{words} ({', '.join(details)})" if details else words


def _failures(summary: Summary) -> list[str]:
    kinds = sorted(summary.failures.items(), key=lambda kind: (-kind[1], kind[0]))
    lines = [
        f"  {format_count(count)} {clean(kind)}: {_meaning(kind, summary)}"
        for kind, count in kinds[:KINDS_SHOWN]
    ]
    if others := kinds[KINDS_SHOWN:]:
        names = ", ".join(f"{format_count(count)} {clean(kind)}" for kind, count in others)
        lines.append(clean(f"  and {names}", 200))
    return lines


def _meaning(kind: str, summary: Summary) -> str:
    if kind == "auth" and (summary.anonymous or summary.unasked):
        total = summary.failures[kind]
        return {summary.anonymous: _NONE_GIVEN, summary.unasked: _NOT_THERE}.get(total, _SOME_GIVEN)
    return KINDS.get(kind, KINDS["internal"])[0]


def _stop(summary: Summary, *, lasts: bool) -> str:
    """Say why the run ended early and how to go on."""
    if not summary.signal and not summary.stopped:
        return ""
    why = clean(summary.stopped, 300) or f"by {_signal_name(summary.signal)}"
    if not lasts or summary.unreadable:
        return f"stopped: {why}"
    left = max(summary.entries - summary.finished, 0)
    open_ended = (
        ""
        if summary.complete or not left
        else f", {format_number_of(left, 'entry', 'entries')} or more to go"
    )
    return f"stopped: {why}{open_ended}; what was received is kept, {AGAIN} to go on"


def _advice(summary: Summary) -> str:
    if not summary.failed:
        return ""
    look = f"bulkfetch failed {shlex.quote(clean(summary.dest))}"
    if any(KINDS.get(kind, ("", False))[1] for kind in summary.failures):
        return f"{AGAIN} to retry; `{look}` lists the failures"
    return f"`{look}` lists the failures"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
