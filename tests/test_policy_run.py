"""Policy files at work: the real command, on real sockets."""

from __future__ import annotations

import json

import pytest

SECRET = "p0licy-s3cret"


@pytest.fixture
def policy(tmp_path, server):
    """Return a function that writes a policy file; HOST in it stands for the server."""

    def write(text, name="policy.toml"):
        path = tmp_path / name
        path.write_text(text.replace("HOST", server.netloc))
        path.chmod(0o600)
        return path

    return write


def test_headers_params_and_auth_reach_their_host(server, tmp_path, policy, run_bulkfetch):
    server.add("/a.csv", body=b"a")
    config = policy(
        '[host."HOST"]\nheaders = { "X-Team" = "data" }\nparams = { key = "env:API_KEY" }\n'
        'auth = { type = "bearer", token = "env:API_TOKEN" }\n'
    )
    done = run_bulkfetch(
        "get", server.url("/a.csv"), "-d", tmp_path / "out", "--config", config, "--events", tmp_path / "e",
        env={"API_KEY": f"{SECRET}-1", "API_TOKEN": f"{SECRET}-2"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (request,) = server.requests
    assert request.headers["X-Team"] == "data"
    assert request.headers["Authorization"] == f"Bearer {SECRET}-2"
    assert request.target == f"/a.csv?key={SECRET}-1"
    assert SECRET not in done.stderr + (tmp_path / "e").read_text()
    assert SECRET.encode() not in b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())


def test_another_host_gets_none_of_it(server, make_server, tmp_path, policy, run_bulkfetch):
    other = make_server()
    other.add("/b.csv", body=b"b")
    server.add("/a.csv", redirect=other.url("/b.csv"))
    config = policy('[host."HOST"]\nauth = { type = "basic", username = "me", password = "env:PW" }\n')
    done = run_bulkfetch(
        "get", server.url("/a.csv"), "-d", tmp_path / "out", "--config", config, env={"PW": SECRET}
    )
    assert done.returncode == 0, done.stderr
    assert "Authorization" in server.requests[0].headers
    assert "Authorization" not in other.requests[0].headers


def test_a_section_for_a_path_holds_below_it_alone(server, tmp_path, policy, run_bulkfetch):
    for path in ("/open/a", "/closed/b"):
        server.add(path, body=b"x")
    config = policy(
        '[host."http://HOST/closed"]\nauth = { type = "header", name = "X-Key", value = "env:PW" }\n'
    )
    urls = [server.url("/open/a"), server.url("/closed/b")]
    done = run_bulkfetch("get", *urls, "-d", tmp_path / "out", "--config", config, env={"PW": SECRET})
    assert done.returncode == 0, done.stderr
    sent = {request.path: request.headers.get("X-Key") for request in server.requests}
    assert sent == {"/open/a": None, "/closed/b": SECRET}


def test_connections_of_one_host_are_limited_by_its_section(server, tmp_path, policy, run_bulkfetch):
    server.add("/n/*", body=b"x", head_delay=0.05)
    config = policy('[host."HOST"]\nper_host = 2\n')
    urls = [server.url(f"/n/{n}") for n in range(12)]
    done = run_bulkfetch("get", *urls, "-d", tmp_path / "out", "--config", config, "-j", "8")
    assert done.returncode == 0, done.stderr
    assert server.peak_requests <= 2


def test_a_secret_that_is_not_there_is_told_by_its_name(server, tmp_path, policy, run_bulkfetch):
    server.add("/a", body=b"x")
    config = policy('[host."HOST"]\nauth = { type = "bearer", token = "env:NOT_SET" }\n')
    done = run_bulkfetch("get", server.url("/a"), "-d", tmp_path / "out", "--config", config)
    assert done.returncode == 1
    assert "NOT_SET" in done.stderr
    assert server.requests == []


@pytest.mark.parametrize(
    ("given", "environment", "limit"),
    [
        ((), {}, 2),
        ((), {"BULKFETCH_PER_HOST": "3"}, 3),
        (("--per-host", "4"), {"BULKFETCH_PER_HOST": "3"}, 4),
    ],
    ids=["the file", "before it the environment", "before that the command line"],
)
def test_what_holds_goes_by_precedence(tmp_path, policy, run_bulkfetch, given, environment, limit):
    config = policy("[defaults]\nper_host = 2\n")
    url = "http://127.0.0.1:9/a"
    shown = run_bulkfetch(
        "plan",
        url,
        "--explain",
        url,
        "-d",
        tmp_path,
        *given,
        env={"BULKFETCH_CONFIG": str(config), **environment},
    )
    rows = {line.split()[0]: line.split()[1] for line in shown.stdout.splitlines() if line.startswith("  ")}
    assert rows["per_host"] == str(limit), shown.stdout + shown.stderr


def test_a_file_in_the_current_folder_is_never_picked_up(server, tmp_path, policy, run_bulkfetch):
    server.add("/a", body=b"x")
    policy("[defaults]\nper_host = nonsense\n", "config.toml")
    assert run_bulkfetch("get", server.url("/a"), "-d", "out", cwd=tmp_path).returncode == 0


def test_mistakes_are_told_with_file_and_line_before_anything_is_asked(
    server, tmp_path, policy, run_bulkfetch
):
    config = policy('[defaults]\nper_hosts = 2\n\n[host."HOST"]\nrate = "fast"\n')
    done = run_bulkfetch("get", server.url("/a"), "-d", tmp_path / "out", "--config", config)
    assert done.returncode == 2
    assert f"{config}, line 2" in done.stderr
    assert 'did you mean "per_host"?' in done.stderr
    assert f"{config}, line 5" in done.stderr
    assert server.requests == []


def test_insecure_is_for_the_host_it_names_and_said_loudly(make_server, tmp_path, run_bulkfetch):
    bad, other = make_server(tls=True, cert="self-signed"), make_server(tls=True, cert="self-signed")
    for one in (bad, other):
        one.add("/a.bin", body=b"x")
    done = run_bulkfetch(
        "get", bad.url("/a.bin"), other.url("/a.bin"), "-d", tmp_path, "--insecure", bad.netloc,
        "--retries", "0", "--print", "json",
    )  # fmt: skip
    states = {json.loads(line)["url"]: json.loads(line)["status"] for line in done.stdout.splitlines()}
    assert states == {bad.url("/a.bin"): "fetched", other.url("/a.bin"): "failed"}
    assert f"the certificate of {bad.netloc} is NOT verified" in done.stderr


def test_a_variable_that_is_not_set_is_not_told_as_the_servers_refusal(
    server, tmp_path, policy, run_bulkfetch
):
    server.add("/n/*", body=b"x")
    config = policy('[host."HOST"]\nauth = { type = "bearer", token = "env:NOT_SET" }\n')
    urls = [server.url(f"/n/{number}") for number in range(12)]
    done = run_bulkfetch("get", *urls, "-d", tmp_path / "out", "--config", config, "--print", "json")
    failures = [json.loads(line)["failure"] for line in done.stdout.splitlines()]
    assert [failure["kind"] for failure in failures] == ["auth"] * 12
    told = f"no credentials for {server.origin}: the variable NOT_SET is not set"
    assert {failure["message"] for failure in failures} == {told}
    assert "12 auth: the credentials configured could not be had" in done.stderr
    assert "the server wants" not in done.stderr
    assert "refuses the" not in done.stderr


def test_an_empty_secret_of_oauth2_is_told_by_the_name_of_its_variable(
    server, tmp_path, policy, run_bulkfetch
):
    pytest.importorskip("requests_oauthlib")
    server.add("/a", body=b"x")
    config = policy(
        '[host."HOST"]\nauth = { type = "oauth2", token_url = "https://127.0.0.1:9/t", client_id = "me", '
        'client_secret = "env:EMPTY_ONE" }\n'
    )
    done = run_bulkfetch(
        "get", server.url("/a"), "-d", tmp_path / "out", "--config", config, env={"EMPTY_ONE": ""}
    )
    assert "no credentials for 127.0.0.1: the variable EMPTY_ONE is empty" in done.stderr
    assert "SecretMissing" not in done.stderr
    assert "refuses the" not in done.stderr


def test_plan_explains_a_url_that_no_source_names(server, tmp_path, policy, run_bulkfetch):
    config = policy('[host."HOST"]\nper_host = 2\n')
    url = server.url("/a.bin")
    done = run_bulkfetch("plan", "--config", config, "--explain", url, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line.split(None, 2)[1:] for line in done.stdout.splitlines() if line[:2] == "  "}
    assert rows["per_host"] == ["2", f'{config}, line 2, [host."{server.netloc}"]']
    assert server.requests == []


def test_plan_explains_the_policy_of_what_is_fetched_already(server, tmp_path, policy, run_bulkfetch):
    server.add("/a.bin", body=b"x")
    config, url = policy('[host."HOST"]\nper_host = 2\n'), server.url("/a.bin")
    options = ("-d", tmp_path / "out", "--config", config)
    assert run_bulkfetch("get", url, *options).returncode == 0
    shown = run_bulkfetch("plan", *options, "--explain", url).stdout
    assert "already fetched" in shown
    assert f"{config}, line 2" in shown


@pytest.mark.parametrize("command", ["get", "plan"])
def test_sections_that_match_nothing_are_told(server, tmp_path, policy, run_bulkfetch, command):
    server.add("/a.bin", body=b"x")
    wrong = "".join(f'[host."exmaple{number}.org"]\nper_host = 2\n' for number in range(7))
    config = policy(f'[host."HOST"]\nper_host = 2\n{wrong}')
    options = ("-d", tmp_path / "out", "--config", config)
    for _ in range(2):  # also where all is there
        done = run_bulkfetch(command, server.url("/a.bin"), *options)
        told = [line for line in done.stderr.splitlines() if "warning" in line]
        assert done.returncode == 0
        assert len(told) == 5
        assert told[0].startswith(
            f'bulkfetch: warning: {config}, line 3: [host."exmaple0.org"] matches nothing'
        )
        assert told[4].endswith("so do 3 others")
    if command == "get":
        assert "warning" not in run_bulkfetch(command, server.url("/a.bin"), *options, "-q").stderr
