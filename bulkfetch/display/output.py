"""Lines on their way to a stream."""

from __future__ import annotations

from typing import TextIO


def write_lines(stream: TextIO, lines: list[str]) -> None:
    """Write whole lines in one piece; what the stream's encoding lacks is escaped, not an error."""
    if not lines:
        return
    text = "\n".join(lines) + "\n"
    encoding = getattr(stream, "encoding", None)
    if encoding and not text.isascii():
        text = text.encode(encoding, "backslashreplace").decode(encoding)
    stream.write(text)
    stream.flush()
