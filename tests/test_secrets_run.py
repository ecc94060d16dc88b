"""Where secrets must not be seen while, and after, the real command uses them."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest
from faultserver import STALL
from leftovers import find_secrets, forms_of

from bulkfetch.cli.main import _say
from bulkfetch.safetext import register_secret

SECRETS = {"env": "l04-from-env", "file": "l04-from-file", "cmd": "l04-from-cmd"}
needs_proc = pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="no /proc")


@pytest.fixture
def policy(server, tmp_path):
    """A policy with a secret from each source."""
    (tmp_path / "secret").write_text(SECRETS["file"])
    (tmp_path / "answer.py").write_text(f"print('{SECRETS['cmd']}')")
    command = shlex.join([sys.executable, str(tmp_path / "answer.py")])
    path = tmp_path / "policy.toml"
    path.write_text(
        f'[host."{server.netloc}"]\n'
        'auth = { type = "bearer", token = "env:L04_TOKEN" }\n'
        f'headers = {{ X-Key = "file:secret", X-Other = "cmd:{command}" }}\n'
    )
    for name in ("secret", "policy.toml"):
        (tmp_path / name).chmod(0o600)
    return path


def seen(process):
    """Return the command lines of a process and its children, and the environment it gives to them."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    numbers = [str(process.pid), *(children.read_text().split() if children.exists() else [])]
    return {
        n: Path(f"/proc/{n}/cmdline").read_bytes() + Path(f"/proc/{n}/environ").read_bytes() for n in numbers
    }


@needs_proc
def test_l04_secrets_come_from_files_and_the_environment_not_from_the_command_line(
    server, tmp_path, policy, start_bulkfetch
):
    server.add("/a", raw=[STALL])
    process = start_bulkfetch("get", server.url("/a"), "-d", tmp_path / "out", "--config", policy, "-vv",
                              env={"L04_TOKEN": SECRETS["env"]})  # fmt: skip
    (request,) = server.wait_for_hits("/a")
    sent = [request.headers[name] for name in ("Authorization", "X-Key", "X-Other")]
    assert sent == [f"Bearer {SECRETS['env']}", SECRETS["file"], SECRETS["cmd"]]
    command_line = Path(f"/proc/{process.pid}/cmdline").read_bytes()
    for secret in SECRETS.values():
        assert not any(form in command_line for form in forms_of(secret))
    told = b"".join(seen(process).values())
    for name in ("file", "cmd"):  # what is in the environment by the user's own will stays there
        assert not any(form in told for form in forms_of(SECRETS[name]))
    process.terminate()
    said, errors = process.communicate(timeout=30)
    assert find_secrets(SECRETS.values(), (said, errors), tmp_path / "out") == []


def test_the_url_of_a_failure_can_be_fetched_again_and_nothing_else_of_it_is_told(
    server, tmp_path, policy, run_bulkfetch
):
    server.add("/a", status=404)
    manifest = tmp_path / "list.txt"
    url = server.url("/a?token=l04-in-the-url").replace("://", "://me:l04-in-front@")
    manifest.write_text(url)
    out = tmp_path / "out"
    out.mkdir()
    recorded = ("--failed", out / "again", "--events", out / "events", "--log-file", out / "log")
    options = ("-d", out / "data", "--config", policy, "-vv", *recorded)
    done = run_bulkfetch("get", manifest, *options, env={"L04_TOKEN": SECRETS["env"]})
    assert done.returncode == 1
    assert url in (out / "again").read_text()
    assert (out / "again").stat().st_mode & 0o077 == 0
    texts, own = (done.stdout, done.stderr), ("l04-in-the-url", "l04-in-front")
    assert find_secrets([*SECRETS.values(), *own], texts, out, users=("me",), skip=[out / "again"]) == []
    assert find_secrets(SECRETS.values(), [(out / "again").read_text()], out) == []


def test_a_bug_tells_no_secret(capsys):
    register_secret("l04-in-a-bug")
    assert _say(RuntimeError("it was l04-in-a-bug"), 5) == 5
    assert capsys.readouterr().err == "bulkfetch: it was ***\n"
