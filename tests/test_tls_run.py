"""TLS as a user sets it: roots, versions, client certificates; the real command on real sockets."""

from __future__ import annotations

import json
import ssl

import pytest


@pytest.fixture
def policy(tmp_path, make_server):
    """Return a function that writes a policy file."""

    def write(text):
        path = tmp_path / "policy.toml"
        path.write_text(text)
        path.chmod(0o600)
        return path

    return write


@pytest.fixture
def get(run_bulkfetch, tmp_path):
    """Return a function that fetches URLs and gives {url: status or kind of failure} and what was said."""

    def run(urls, *options, env=None):
        urls = [urls] if isinstance(urls, str) else urls
        done = run_bulkfetch("get", *urls, "-d", tmp_path / "out", "--retries", "0", "--layout", "tree",
                             "--print", "json", "-v", *options, env=env)  # fmt: skip
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        told = {row["url"]: row.get("failure", {}).get("kind", row["status"]) for row in rows}
        return told, done.stderr

    return run


@pytest.mark.parametrize("transport", ["fast", "requests"])
@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_the_roots_of_the_environment(tls_server, get, name, transport):
    tls_server.add("/a", body=b"a")
    url = tls_server.url("/a")
    told, said = get(url, "--transport", transport, env={name: tls_server.ca_file})
    assert told == {url: "fetched"}, said


def test_without_its_roots_a_server_is_not_trusted(tls_server, get):
    told, _ = get(tls_server.url("/a"))
    assert set(told.values()) == {"tls"}
    assert tls_server.requests == []


def test_the_systems_trust_store(tls_server, get, policy, tmp_path):
    pytest.importorskip("truststore")
    tls_server.add("/a", body=b"a")
    config = policy(f'[host."{tls_server.netloc}"]\nverify = "system"\n')
    url = tls_server.url("/a")
    assert get(url, "--config", config)[0] == {url: "tls"}
    told, said = get(
        url, "--config", config, env={"SSL_CERT_FILE": tls_server.ca_file}
    )  # OpenSSL reads it too
    assert told == {url: "fetched"}, said


def test_roots_of_one_host(make_server, get, policy):
    one, other = make_server(tls=True), make_server(tls=True, host="127.0.0.2")
    for server in (one, other):
        server.add("/a", body=b"a")
    config = policy(f'[host."127.0.0.1"]\nverify = "{one.ca_file}"\n')
    told, _ = get([one.url("/a"), other.url("/a")], "--config", config)
    assert told == {one.url("/a"): "fetched", other.url("/a"): "tls"}


@pytest.mark.parametrize("transport", ["fast", "requests"])
def test_an_older_tls_than_asked_for_is_refused(tls_server, get, policy, transport):
    tls_server._context.maximum_version = ssl.TLSVersion.TLSv1_2
    tls_server.add("/a", body=b"a")
    url, options = tls_server.url("/a"), ("--ca-bundle", tls_server.ca_file, "--transport", transport)
    config = policy(f'[host."{tls_server.netloc}"]\ntls_min = "1.3"\n')
    assert get(url, *options, "--config", config)[0] == {url: "tls"}
    assert get(url, *options)[0] == {url: "fetched"}


@pytest.mark.parametrize("transport", ["fast", "requests"])
def test_a_host_without_verification_is_said_once_and_loudly(make_server, get, policy, transport):
    server = make_server(tls=True, cert="self-signed")
    server.add("/*", body=b"a")
    config = policy(f'[host."{server.netloc}"]\nverify = false\n')
    told, said = get([server.url("/a"), server.url("/b")], "--config", config, "--transport", transport)
    assert set(told.values()) == {"fetched"}
    assert said.count("NOT verified") == 1
    assert f"{config}, line 2" in said
    assert "Insecure" not in said


@pytest.mark.parametrize("transport", ["fast", "requests"])
def test_a_client_certificate_is_shown_to_named_origins_only(make_server, get, transport):
    named = make_server(tls=True, client_cert=True)
    target = make_server(tls=True, client_cert=True, host="127.0.0.2")
    target.add("/b", body=b"b")
    named.add("/a", body=b"a")
    named.add("/away", redirect=target.url("/b"))
    options = (
        "--ca-bundle",
        named.ca_file,
        "--client-cert",
        named.client_cert_file,
        "--transport",
        transport,
    )
    told, _ = get([named.url("/a"), named.url("/away")], *options)
    assert told[named.url("/a")] == "fetched"
    assert told[named.url("/away")] != "fetched"
    assert target.requests == []
    told, said = get([target.url("/b"), named.url("/away")], *options)  # named by an entry of its own
    assert told[target.url("/b")] == "fetched", said
    assert len(target.requests) == 1, "not where the redirect leads, all the same"


def test_a_client_certificate_of_a_host_is_for_that_host(make_server, get, policy):
    one, other = (
        make_server(tls=True, client_cert=True),
        make_server(tls=True, client_cert=True, host="127.0.0.2"),
    )
    for server in (one, other):
        server.add("/a", body=b"a")
    config = policy(f'[host."127.0.0.1"]\nclient_cert = "{one.client_cert_file}"\n')
    told, said = get([one.url("/a"), other.url("/a")], "--config", config, "--ca-bundle", one.ca_file)
    assert told[one.url("/a")] == "fetched", said
    assert told[other.url("/a")] != "fetched"
    assert other.requests == []


def test_a_client_certificate_that_is_none_is_told(tls_server, get, tmp_path):
    (tmp_path / "cert.pem").write_text("nothing")
    told, said = get(
        tls_server.url("/a"), "--client-cert", tmp_path / "cert.pem", "--ca-bundle", tls_server.ca_file
    )
    assert set(told.values()) == {"auth"}
    assert f"the client certificate {tmp_path / 'cert.pem'} cannot be used" in said
