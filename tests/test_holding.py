"""What `plan --explain` says holds, each value with the place that says it."""

from __future__ import annotations

import pytest

from bulkfetch.quantities import parse_rate, parse_size, show_rate, show_size

URL = "http://h.example/a"
SECRET = "p1ain-s3cret"


@pytest.fixture
def explain(tmp_path, run_bulkfetch):
    """Return a function that gives the rows of an explained plan, by their first word."""
    config = tmp_path / "policy.toml"
    config.write_text(
        '[host."h.example"]\nauth = { type = "bearer", token = "env:API_TOKEN" }\n'
        'limit_rate = "2M"\nrate = "10/s"\nheaders = { X-Team = "data" }\n'
    )
    config.chmod(0o600)

    def run(*options, env=None):
        shown = run_bulkfetch("plan", "--config", config, "--explain", URL, *options, env=env, cwd=tmp_path)
        assert shown.returncode == 0, shown.stderr
        assert SECRET not in shown.stdout
        return {line.split()[0]: line for line in shown.stdout.splitlines() if line.startswith("  ")}

    return run


def test_plan_explain_leaves_out_no_header_of_the_command_line(explain):
    rows = explain("-H", f"Authorization: Bearer {SECRET}", "-H", f"X-Team: {SECRET}")
    assert rows["headers.authorization"].split() == ["headers.authorization", "(hidden)", "--header"]
    assert rows["headers.x-team"].split()[1:] == ["(hidden)", "--header"]
    assert "but headers.authorization goes before it" in rows["auth"]


def test_plan_explain_leaves_out_no_header_of_the_environment(explain):
    rows = explain(env={"BULKFETCH_HEADER": f"X-Key: {SECRET}"})
    assert rows["headers.x-key"].split()[1:] == ["(hidden)", "$BULKFETCH_HEADER"]
    assert "goes before" not in rows["auth"]


def test_plan_explain_tells_what_holds_for_the_whole_run(explain):
    rows = explain("--rate", "100/m", "--limit-rate", "20M", "--respect-cache", env={"BULKFETCH_JOBS": "3"})
    assert rows["--rate"].split()[1:] == ["100/m", "--rate"]
    assert rows["--limit-rate"].split()[1:] == ["20M/s", "--limit-rate"]
    assert rows["--respect-cache"].split()[1:] == ["yes", "--respect-cache"]
    assert rows["--jobs"].split()[1:] == ["3", "$BULKFETCH_JOBS"]


def test_plan_explain_names_the_variable_of_the_ca_bundle(explain, tmp_path):
    bundle = tmp_path / "ca.pem"
    bundle.write_text("")
    rows = explain(env={"CURL_CA_BUNDLE": str(bundle)})
    assert rows["verify"].split()[1:] == [str(bundle), "$CURL_CA_BUNDLE"]


def test_plan_explain_shows_units_under_one_another(explain):
    rows = explain()
    assert rows["limit_rate"].split()[1] == "2M/s"
    assert rows["rate"].split()[1] == "10/s"
    assert rows["min_speed"].split()[1] == "1K/s"
    assert len({rows[key].rindex("default") for key in ("backoff", "min_speed", "retry_statuses")}) == 1


@pytest.mark.parametrize("text", ["500", "20M", "1536M", "1MB", "1T", "1048577", "0"])
def test_a_shown_size_is_read_back(text):
    assert show_size(parse_size(text)) == text


@pytest.mark.parametrize("text", ["5/s", "100/m", "1000/h", "1332/h"])
def test_a_shown_rate_is_read_back(text):
    assert show_rate(parse_rate(text)) == text
