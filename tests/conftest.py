"""Fixtures for every test: servers, a clock, bulkfetch as a process, and a guard against the network."""

from __future__ import annotations

import contextlib
import errno
import functools
import ipaddress
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from faultserver import Server
from faultserver.nginx import Nginx, is_installed
from hypothesis import HealthCheck, settings
from watching import Watch

BREACHES: list[str] = []  # connections tried beyond the loopback
RUN_SECONDS = 120.0
UNWANTED = ("requests_ca_bundle", "curl_ca_bundle", "ssl_cert_file", "ssl_cert_dir", "netrc")

# A busy machine is no failure.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same", settings.get_profile("patient"), derandomize=True)  # see check.py
settings.load_profile("patient")


def is_loopback(family: int, address: Any) -> bool:
    """Say whether connecting there stays on this machine."""
    if family not in (socket.AF_INET, socket.AF_INET6):
        return True
    host = str(address[0])
    try:
        ip = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host == "localhost"
    mapped = getattr(ip, "ipv4_mapped", None)
    return (mapped or ip).is_loopback


def guarded(connect: Callable[[socket.socket, Any], Any]) -> Callable[[socket.socket, Any], Any]:
    """Return `connect` for the loopback only."""

    @functools.wraps(connect)
    def wrapper(sock: socket.socket, address: Any) -> Any:
        if is_loopback(sock.family, address):
            return connect(sock, address)
        BREACHES.append(str(address))
        raise OSError(errno.ENETUNREACH, f"tests connect to the loopback only, not to {address}")

    return wrapper


@pytest.fixture(scope="session", autouse=True)
def _loopback_only() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded(socket.socket.connect))
        patch.setattr(socket.socket, "connect_ex", guarded(socket.socket.connect_ex))
        yield


@pytest.fixture(autouse=True)
def no_network(_loopback_only: None) -> Iterator[list[str]]:
    """Fail a test that tried to leave the loopback, even where the code under test swallowed the error."""
    BREACHES.clear()
    yield BREACHES
    if BREACHES:
        pytest.fail(f"connections beyond the loopback: {', '.join(BREACHES)}")


@pytest.fixture(autouse=True)
def watch(request: pytest.FixtureRequest) -> Iterator[Watch]:
    """Fail a test after which a secret stands where it must not be seen; see `watching`."""
    has_folder = "tmp_path" in request.fixturenames
    watch = Watch(request.getfixturevalue("tmp_path") if has_folder else None, request.path)
    yield watch
    if found := watch.found():
        pytest.fail("secrets can be seen:\n" + "\n".join(found))


@pytest.fixture
def make_server() -> Iterator[Callable[..., Server]]:
    """Return a function that starts a `Server(**options)`; all are closed at the end."""
    servers: list[Server] = []

    def make(**options: Any) -> Server:
        try:
            servers.append(Server(**options))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL and options.get("host") not in (None, "127.0.0.1"):
                pytest.skip(f"this system has no address {options['host']}")
            raise
        return servers[-1]

    yield make
    errors = []
    for server in servers:
        try:
            server.close()
        except AssertionError as error:
            errors.append(error)
    if errors:
        raise errors[0]


@pytest.fixture
def server(make_server: Callable[..., Server]) -> Server:
    """A plain server on 127.0.0.1."""
    return make_server()


@pytest.fixture
def tls_server(make_server: Callable[..., Server]) -> Server:
    """A TLS server on 127.0.0.1, trusted by `tls_server.ca_file`."""
    return make_server(tls=True)


@pytest.fixture(scope="session")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """A real nginx; put files under a name of your own, the server outlives the test."""
    if not is_installed():
        if os.environ.get("CI"):
            pytest.fail("nginx is not installed")
        pytest.skip("nginx is not installed")
    running = Nginx(tmp_path_factory.mktemp("nginx"))
    yield running
    running.close()


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    """A fake clock: call it for the time, `advance(s)` it."""
    return Clock()


def clean_environment(home: Path, changes: Mapping[str, str | None] | None = None) -> dict[str, str]:
    """Return an environment without proxies, certificates, BULKFETCH_* and the user's home."""
    kept = {name: value for name, value in os.environ.items() if not _is_unwanted(name.lower())}
    homes = ("HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA")
    kept |= dict.fromkeys(homes, str(home))
    for name, value in (changes or {}).items():
        kept.pop(name, None)
        if value is not None:
            kept[name] = value
    return kept


def _is_unwanted(name: str) -> bool:
    return name.endswith("_proxy") or name.startswith(("bulkfetch_", "xdg_")) or name in UNWANTED


@pytest.fixture(scope="session")
def _interruptible() -> Iterator[None]:
    """Children inherit an ignored SIGINT (nohup, `&` in a script): signal tests would hang."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def run_bulkfetch(
    tmp_path_factory: pytest.TempPathFactory, _interruptible: None, watch: Watch
) -> Callable[..., Any]:
    """Return a function that runs `bulkfetch ARGS` to its end; env changes: None removes a variable."""
    home = tmp_path_factory.mktemp("home")

    def run(
        *args: object,
        stdin: str | bytes | None = None,
        env: Mapping[str, str | None] | None = None,
        cwd: str | Path | None = None,
        timeout: float = RUN_SECONDS,
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "bulkfetch", *map(str, args)]
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        if stdin is None:
            pipes["stdin"] = subprocess.DEVNULL
        watch.begin(args)
        with subprocess.Popen(command, env=clean_environment(home, env), cwd=cwd or home, **pipes) as process:
            watch.follow(process, args)
            try:
                outputs = process.communicate(None if stdin is None else _encoded(stdin), timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                out, err = map(_decoded, process.communicate())
                texts = f"stdout: {out}\nstderr: {err}"
                pytest.fail(f"bulkfetch {args} still ran after {timeout} s\n{texts}")
        for where, output in zip(("stdout", "stderr"), outputs, strict=True):
            watch.say(where, output)
        return subprocess.CompletedProcess(command, process.returncode, *map(_decoded, outputs))

    return run


@pytest.fixture
def command(capsys: Any, monkeypatch: Any, tmp_path_factory: Any, watch: Watch) -> Callable[..., Any]:
    """Return a function that runs the command line within this process, where starting one tells no more."""
    from bulkfetch.cli.main import _run

    home = tmp_path_factory.mktemp("home")
    for name in os.environ.keys() - clean_environment(home).keys():
        monkeypatch.delenv(name)
    for name, value in clean_environment(home).items():
        monkeypatch.setenv(name, value)

    def run(*args: object) -> subprocess.CompletedProcess[str]:
        capsys.readouterr()
        watch.begin(args)
        code = _run([str(arg) for arg in args])
        outputs = capsys.readouterr()
        watch.say("stdout", outputs.out)
        watch.say("stderr", outputs.err)
        return subprocess.CompletedProcess(args, code, *outputs)

    return run


def _encoded(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def _decoded(output: bytes | None) -> str:
    text = (output or b"").decode("utf-8", "backslashreplace")
    return text.replace("\r\n", "\n") if os.name == "nt" else text  # elsewhere a CR is bulkfetch's own


class Spoken(subprocess.Popen[str]):
    """A process whose output is searched where it is read as a whole."""

    watch: Watch

    def communicate(self, *args: Any, **options: Any) -> tuple[str, str]:
        """Return what the process said, once it has ended."""
        outputs = super().communicate(*args, **options)
        for where, output in zip(("stdout", "stderr"), outputs, strict=True):
            self.watch.say(where, output)
        return outputs


@pytest.fixture
def start_bulkfetch(
    tmp_path_factory: Any, _interruptible: None, watch: Watch
) -> Iterator[Callable[..., Any]]:
    """Return a function that starts `bulkfetch ARGS` as a text Popen with pipes; killed at the end."""
    home = tmp_path_factory.mktemp("home")
    started: list[subprocess.Popen[str]] = []

    def start(
        *args: object,
        env: Mapping[str, str | None] | None = None,
        cwd: str | Path | None = None,
        **options: Any,
    ) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "bulkfetch", *map(str, args)]
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        text = {"encoding": "utf-8", "errors": "backslashreplace"}
        settings = {**pipes, **text, "env": clean_environment(home, env), "cwd": cwd or home, **options}
        watch.begin(args)
        started.append(Spoken(command, **settings))
        started[-1].watch = watch
        watch.follow(started[-1], args)
        return started[-1]

    yield start
    for process in started:
        _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.kill()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):  # unsent input for a process that is gone
                pipe.close()
    process.wait(30)
