"""A real nginx in a folder of its own, for tests that must hold against a server nobody scripted."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path

from . import certificates

HOST = "127.0.0.1"
START_SECONDS = 30.0
CONFIG = """\
daemon off;
master_process off;
pid nginx.pid;
error_log error.log;
events {{ worker_connections 512; }}
http {{
    access_log access.log;
    client_body_temp_path temp_body;
    proxy_temp_path temp_proxy;
    fastcgi_temp_path temp_fastcgi;
    uwsgi_temp_path temp_uwsgi;
    scgi_temp_path temp_scgi;
    default_type application/octet-stream;
    keepalive_timeout 30;
    keepalive_requests 100000;
    ssl_certificate {certificate};
    ssl_certificate_key {certificate};
    server {{
        listen {host}:{port};
        listen {host}:{tls_port} ssl;
        root files;
    }}
}}
"""


def is_installed() -> bool:
    """Say whether nginx can be run."""
    return shutil.which("nginx") is not None


class Nginx:
    """Serves the files under `root`, plain and with TLS."""

    def __init__(self, prefix: Path) -> None:
        self._prefix = prefix
        self.root = prefix / "files"
        self.root.mkdir()
        self.ca_file = certificates.ca_file()
        for _attempt in range(5):  # a free port may be taken before nginx binds it
            self.port, self.tls_port = _free_ports()
            self._process = self._start()
            if self._answers():
                return
            self.close()
        raise RuntimeError(f"nginx does not start:\n{self._log()}")

    def put(self, name: str, data: bytes) -> str:
        """Store a file and return its path on the server; folders are made as needed."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return f"/{name}"

    def url(self, path: str = "/") -> str:
        """Return the plain URL of a path."""
        return f"http://{HOST}:{self.port}{path}"

    def tls_url(self, path: str = "/") -> str:
        """Return the https URL of a path."""
        return f"https://{HOST}:{self.tls_port}{path}"

    def close(self) -> None:
        """End nginx."""
        self._process.terminate()
        try:
            self._process.wait(10.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10.0)

    def _start(self) -> subprocess.Popen[bytes]:
        config = self._prefix / "nginx.conf"
        certificate = certificates.server_cert_file("good", HOST)
        ports = {"port": self.port, "tls_port": self.tls_port}
        config.write_text(CONFIG.format(host=HOST, certificate=certificate, **ports))
        command = ["nginx", "-p", f"{self._prefix}/", "-c", str(config), "-e", f"{self._prefix}/error.log"]
        with (self._prefix / "output.log").open("wb") as output:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    def _answers(self) -> bool:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self._process.poll() is None:
            try:
                socket.create_connection((HOST, self.tls_port), 1.0).close()
                return self._process.poll() is None
            except OSError:
                time.sleep(0.01)  # a real process starts
        return False

    def _log(self) -> str:
        logs = (self._prefix / "output.log", self._prefix / "error.log")
        return "\n".join(path.read_text(errors="replace") for path in logs if path.exists())


def _free_ports() -> tuple[int, int]:
    with socket.create_server((HOST, 0)) as one, socket.create_server((HOST, 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]
