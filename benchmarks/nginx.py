"""One nginx with a server for each kind of link: plain, TLS, limited, delayed, and many origins."""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
KINDS = ("plain", "tls", "limited", "delayed", "hosts")
START_SECONDS = 10.0
SETTLE_SECONDS = 0.1
DELAY_SECONDS = 0.05
RATE = "10m"  # bytes per second and connection of the limited server

# No `sendfile` or cache tuning: the server is the same for everyone and must only not be odd.
CONFIG = """\
{modules}
daemon off;
pid nginx.pid;
{user}
worker_processes auto;
worker_rlimit_nofile {files};
events {{ worker_connections {files}; }}
http {{
    log_format brief '$connection $bytes_sent';
    access_log access.log brief;
    client_body_temp_path temp_body;
    proxy_temp_path temp_proxy;
    fastcgi_temp_path temp_fastcgi;
    uwsgi_temp_path temp_uwsgi;
    scgi_temp_path temp_scgi;
    default_type application/octet-stream;
    sendfile on;
    keepalive_timeout 300;
    keepalive_requests 100000000;
    root files;
{servers}
}}
"""
PLACES = {
    "plain": "location /tiny/ { return 200 $uri; }",
    "tls": "ssl_certificate server.pem; ssl_certificate_key server.pem;",
    "limited": f"limit_rate {RATE};",
    "delayed": "location / { echo_sleep %s; echo_exec /now$uri; }\n"
    "location /now/ { internal; alias files/; }",
    "hosts": "",
}


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the server saw."""

    requests: int
    connections: int
    sent: int  # bytes, heads included


class Nginx:
    """Serves `root` until it is closed; `kinds` are the servers wanted."""

    def __init__(
        self, prefix: Path, kinds: Iterable[str], origins: int = 1, delay: float = DELAY_SECONDS
    ) -> None:
        self._prefix = prefix
        self._delay = delay
        self.root = prefix / "files"
        self.root.mkdir(parents=True)
        self._log = prefix / "access.log"
        self.ca_file = _write_certificate(prefix) if "tls" in kinds else ""
        self._addresses = {kind: origin_addresses(origins) if kind == "hosts" else [HOST] for kind in kinds}
        self._ports = dict(zip(self._addresses, _free_ports(len(self._addresses)), strict=True))
        self._process = self._start()

    def bases(self, kind: str) -> list[str]:
        """Return the URL of each origin of a kind."""
        scheme = "https" if kind == "tls" else "http"
        return [f"{scheme}://{address}:{self._ports[kind]}" for address in self._addresses[kind]]

    def settle(self) -> None:
        """Wait until the answers that a killed client left behind are in the log."""
        before = -1
        while (size := self._log.stat().st_size) != before:
            before = size
            time.sleep(SETTLE_SECONDS)

    def traffic(self) -> Traffic:
        """Return what was answered since the last call."""
        requests = sent = 0
        connections = set()
        with self._log.open("r+b") as log:
            for line in log:
                connection, size = line.split()
                requests += 1
                sent += int(size)
                connections.add(connection)
            log.truncate(0)  # nginx appends
        return Traffic(requests, len(connections), sent)

    def close(self) -> None:
        """End nginx."""
        self._process.terminate()
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        config = self._prefix / "nginx.conf"
        config.write_text(self._render(), encoding="ascii")
        command = ["nginx", "-p", f"{self._prefix}/", "-c", str(config), "-e", f"{self._prefix}/error.log"]
        with (self._prefix / "output.log").open("wb") as output:
            # A session of its own: Ctrl-C must reach nginx only when its clients are gone.
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        try:
            self._await(process)
        except BaseException:
            process.kill()
            process.wait()
            raise
        return process

    def _await(self, process: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + START_SECONDS
        port = next(iter(self._ports.values()))
        while time.monotonic() < end and process.poll() is None:
            with contextlib.suppress(OSError):
                socket.create_connection((HOST, port), 1.0).close()
                return
            time.sleep(0.02)
        raise RuntimeError(f"nginx does not start: {(self._prefix / 'output.log').read_text()}")

    def _render(self) -> str:
        servers = []
        for kind, addresses in self._addresses.items():
            place = PLACES[kind] % self._delay if kind == "delayed" else PLACES[kind]
            suffix = " ssl" if kind == "tls" else ""
            listen = "".join(f"listen {address}:{self._ports[kind]}{suffix};\n" for address in addresses)
            servers.append(f"server {{\n{listen}{place}\n}}")
        module = _echo_module() if "delayed" in self._addresses else None
        return CONFIG.format(
            modules=f"load_module {module};" if module else "",
            user=_user_line(),
            files=4096 + 2 * sum(map(len, self._addresses.values())),
            servers="\n".join(servers),
        )


def missing_for(kind: str) -> str:
    """Say what this machine lacks for a kind of server; "" for nothing."""
    if kind == "tls" and not _has_trustme():
        return "the Python package trustme is not installed"
    if kind == "delayed" and _echo_module() is None:
        return "nginx has no echo module"
    if kind == "hosts" and not _can_bind(origin_addresses(2)):
        return "only 127.0.0.1 is a loopback address here"
    return ""


def is_installed() -> bool:
    """Say whether nginx can be run."""
    return shutil.which("nginx") is not None


def origin_addresses(count: int) -> list[str]:
    """Return loopback addresses, one for each origin."""
    return [f"127.1.{index // 250}.{index % 250 + 1}" for index in range(count)]


def _echo_module() -> Path | None:
    told = subprocess.run(["nginx", "-V"], capture_output=True, text=True, check=False).stderr
    found = re.search(r"--modules-path=(\S+)", told)
    module = Path(found[1] if found else "/usr/lib/nginx/modules", "ngx_http_echo_module.so")
    return module if module.exists() else None


def _user_line() -> str:
    if os.name != "posix" or os.geteuid() != 0:
        return ""
    import grp

    return f"user {getpass.getuser()} {grp.getgrgid(os.getegid()).gr_name};"  # others cannot read our folder


def _has_trustme() -> bool:
    try:
        import trustme  # noqa: F401 - only whether it is there
    except ImportError:
        return False
    return True


def _write_certificate(prefix: Path) -> str:
    import trustme

    authority = trustme.CA()
    (prefix / "server.pem").write_bytes(authority.issue_cert(HOST).private_key_and_cert_chain_pem.bytes())
    (prefix / "ca.pem").write_bytes(authority.cert_pem.bytes())
    return str(prefix / "ca.pem")


def _can_bind(addresses: Sequence[str]) -> bool:
    try:
        for address in addresses:
            socket.create_server((address, 0)).close()
    except OSError:
        return False
    return True


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as opened:
        sockets = [opened.enter_context(socket.create_server((HOST, 0))) for _ in range(count)]
        return [sock.getsockname()[1] for sock in sockets]
