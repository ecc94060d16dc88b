"""The script one would write with aiohttp: LIST OUT CONNECTIONS MODE [uvloop]."""

# Whoever wants speed does without pathlib on the path of every file.
# ruff: noqa: PTH103, PTH105, PTH110, PTH123
from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
from collections.abc import Iterator

import aiohttp

UNBOUNDED = aiohttp.ClientTimeout(total=None)


def read_list(source: str, mode: str) -> Iterator[tuple[str, str]]:
    """Yield (URL, SHA-256 wanted or "")."""
    with open(0 if source == "-" else source, encoding="ascii") as stream:
        for line in stream:
            if mode == "digest":
                row = json.loads(line)
                yield row["url"], row["sha256"]
            else:
                yield line.strip(), ""


async def fetch_file(session: aiohttp.ClientSession, url: str, target: str, wanted: str) -> None:
    """Fetch one file into a part and rename it."""
    part = f"{target}.part"
    digest = hashlib.sha256() if wanted else None
    async with session.get(url) as answer:
        answer.raise_for_status()
        with open(part, "wb") as stream:
            async for chunk in answer.content.iter_any():
                stream.write(chunk)
                if digest:
                    digest.update(chunk)
    if digest and digest.hexdigest() != wanted:
        raise ValueError(f"{url}: wrong digest")
    os.replace(part, target)


async def work(
    session: aiohttp.ClientSession, rows: Iterator[tuple[str, str]], out: str, again: bool
) -> None:
    """Fetch rows until there are none."""
    for url, wanted in rows:
        target = f"{out}/{url.rpartition('/')[2]}"
        if not (again and os.path.exists(target)):
            await fetch_file(session, url, target, wanted)


async def main(source: str, out: str, connections: int, mode: str) -> None:
    """Run as many workers as there are connections."""
    os.makedirs(out, exist_ok=True)
    rows = read_list(source, mode)
    connector = aiohttp.TCPConnector(limit=connections)
    async with aiohttp.ClientSession(connector=connector, timeout=UNBOUNDED) as session:
        again = mode in ("again", "resume")
        await asyncio.gather(*(work(session, rows, out, again) for _ in range(connections)))


if __name__ == "__main__":
    task = main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
    if "uvloop" in sys.argv[5:]:
        import uvloop

        uvloop.run(task)
    else:
        asyncio.run(task)
