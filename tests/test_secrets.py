"""Secrets come from where they are said to be, and nothing but `reveal` tells them."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import pickle
import shlex
import sys
import threading
import traceback
import uuid
from base64 import b64encode, urlsafe_b64encode
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bulkfetch.errors import UsageError
from bulkfetch.extras import EXTRAS, load_extra
from bulkfetch.masking import MASK, SHORTEST, KnownSecrets
from bulkfetch.safetext import clean, has_secret, redact, redact_url
from bulkfetch.secrets import Secret, SecretMissing, is_exposed, is_secret_source, read_command

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX modes")
ANY = st.text(st.characters(exclude_categories=()), max_size=30)  # lone surrogates too
VALUE = st.text(st.characters(exclude_categories=()), min_size=SHORTEST, max_size=20)
TRICKY = st.text("*a/%+ &?=:@\"'\\\n2567", min_size=SHORTEST, max_size=8)


@pytest.fixture
def value() -> str:
    """A secret that nothing else contains: what is registered stays so for the process."""
    return f"s3cr3t-{uuid.uuid4().hex}"


def command(code: str) -> str:
    """Return a secret source that runs Python code."""
    quoted = (sys.executable, "-c", code)
    return "cmd:" + (shlex.join(quoted) if os.name == "posix" else f'"{sys.executable}" -c "{code}"')


# -- sources --------------------------------------------------------------------------------------


def test_literal(value):
    assert Secret(value).reveal() == value
    assert Secret(f"literal:env:{value}").reveal() == f"env:{value}"
    assert Secret(f"https://{value}").reveal() == f"https://{value}", "no source of that name"


def test_variable(monkeypatch, value):
    secret = Secret("env:BULKFETCH_TEST_SECRET")
    monkeypatch.setenv("BULKFETCH_TEST_SECRET", value)
    assert secret.reveal() == value
    monkeypatch.delenv("BULKFETCH_TEST_SECRET")
    assert secret.reveal() == value, "asked once"


@pytest.mark.parametrize(("content", "why"), [(None, "not set"), ("", "empty")])
def test_variable_that_is_not_there(monkeypatch, content, why):
    monkeypatch.delenv("BULKFETCH_TEST_SECRET", raising=False)
    if content is not None:
        monkeypatch.setenv("BULKFETCH_TEST_SECRET", content)
    with pytest.raises(SecretMissing, match=f"the variable BULKFETCH_TEST_SECRET is {why}"):
        Secret("env:BULKFETCH_TEST_SECRET").reveal()


@pytest.mark.parametrize(
    ("ending", "kept"),
    [("", ""), ("\n", ""), ("\r\n", ""), ("\n\n", "\n"), (" \n", " "), ("\nmore", "\nmore")],
)
def test_file_loses_one_line_end(tmp_path, value, ending, kept):
    (tmp_path / "key").write_bytes(f"{value}{ending}".encode())
    assert Secret("file:key", tmp_path).reveal() == value + kept
    assert Secret(f"file:{tmp_path / 'key'}", "/elsewhere").reveal() == value + kept


def test_file_in_the_home_folder(tmp_path, monkeypatch, value):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / ".key").write_text(value)
    assert Secret("file:~/.key", "/elsewhere").reveal() == value


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "cannot be read"),
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"caf\xe9", "is not UTF-8 text"),
        (b"x" * 65537, "is longer than 65536 bytes"),
    ],
    ids=["missing", "empty", "only a line end", "latin-1", "long"],
)
def test_file_that_is_no_secret(tmp_path, content, why):
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    with pytest.raises(SecretMissing, match=f"the secret file .*key {why}"):
        Secret("file:key", tmp_path).reveal()


def test_file_with_a_name_no_file_has(tmp_path):
    with pytest.raises(SecretMissing, match="cannot be read"):
        Secret("file:a\0b", tmp_path).reveal()


@posix
@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o400, False), (0o640, True), (0o604, True)])
def test_mode_of_a_file(tmp_path, value, mode, warned):
    path = tmp_path / "key"
    path.write_text(value)
    path.chmod(mode)
    secret = Secret("file:key", tmp_path)
    assert secret.warning() == (f"other users may read the secret in {path}: chmod 600 it" if warned else "")
    assert is_exposed(path, 0o077) is warned
    assert secret.reveal() == value, "a warning, no more"


def test_nothing_to_warn_about(tmp_path, value):
    assert Secret("file:missing", tmp_path).warning() == ""
    assert Secret(value).warning() == Secret("env:X").warning() == ""


def test_command(value):
    half = len(value) // 2
    assert Secret(command(f"print('{value[:half]}' + '{value[half:]}')")).reveal() == value


@posix
def test_command_is_read_by_no_shell(tmp_path):
    assert Secret("cmd:echo $HOME; echo > 'a b'", tmp_path).reveal() == "$HOME; echo > a b"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (command("import sys; sys.stderr.write('one; two'); sys.exit(3)"), "ended with status 3: one; two"),
        (command("raise SystemExit(4)"), "ended with status 4"),
        (command("pass"), "is empty"),
        ("cmd:no-such-program-anywhere x", "cannot be run"),
    ],
)
def test_command_that_fails(text, why):
    with pytest.raises(SecretMissing, match=why):
        Secret(text).reveal()


@posix
def test_command_that_cannot_be_split():
    with pytest.raises(SecretMissing, match="cannot be run: ValueError"):
        Secret("cmd:echo 'open").reveal()


def test_command_that_does_not_end(value):
    with pytest.raises(SecretMissing, match=r"did not end within 0\.2 s") as caught:
        read_command(command(f"import time; time.sleep(60) # {value}").removeprefix("cmd:"), seconds=0.2)
    assert value not in "".join(traceback.format_exception(caught.value)), "arguments may be secrets"


def test_arguments_of_a_command_are_not_told(value):
    secret = Secret(f"cmd:no-such-program --password {value}")
    with pytest.raises(SecretMissing) as caught:
        secret.reveal()
    for text in (str(secret), repr(secret), *traceback.format_exception(caught.value)):
        assert value not in text


class FakeKeyring:
    """What the tests need of a keyring's interface."""

    def __init__(self, passwords):
        self.passwords = passwords

    def get_password(self, service, user):
        if service == "locked":
            raise RuntimeError(f"no access to {self.passwords}")
        return self.passwords.get((service, user))


def test_keyring(monkeypatch, value):
    monkeypatch.setitem(sys.modules, "keyring", FakeKeyring({("a/b", "me"): value}))
    assert Secret("keyring:a/b/me").reveal() == value
    with pytest.raises(SecretMissing, match="the keyring has no password for you of a/b"):
        Secret("keyring:a/b/you").reveal()
    with pytest.raises(SecretMissing, match="cannot be asked for locked/me: RuntimeError"):
        Secret("keyring:locked/me").reveal()


def test_the_real_keyring_has_what_is_asked_of_it():
    assert callable(pytest.importorskip("keyring").get_password)


def test_keyring_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(UsageError, match=r"keyring:a/b needs keyring: install bulkfetch\[keyring\]"):
        Secret("keyring:a/b").reveal()


@pytest.mark.parametrize("module", EXTRAS)
def test_every_extra_is_named_when_it_is_missing(monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=rf"^this needs {module}: install bulkfetch\[{EXTRAS[module]}\]$"):
        load_extra(module, "this")


@pytest.mark.parametrize("text", ["env:", "file:", "cmd: ", "keyring:service", "keyring:", "literal:"])
def test_source_without_a_name(text):
    with pytest.raises(UsageError, match="a secret is written"):
        Secret(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("env:X", True),
        ("literal:x", True),
        ("cmd:x", True),
        ("ENV:X", False),
        ("https://x", False),
        ("env", False),
    ],
)
def test_what_names_a_source(text, expected):
    assert is_secret_source(text) is expected


def test_one_asking_serves_all_threads(tmp_path):
    code = f"open(r'{tmp_path / 'asked'}', 'a').write('x'); print('{uuid.uuid4().hex}')"
    secret = Secret(command(code))
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(secret.reveal())) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(found) == 6
    assert (tmp_path / "asked").read_text() == "x"


# -- never shown ----------------------------------------------------------------------------------


@dataclasses.dataclass
class Holder:
    """A value with a secret in it."""

    secret: Secret


def test_a_literal_never_shows(value):
    secret = Secret(value)
    holder = Holder(secret)
    shown = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r}",
        repr(holder),
        f"{[secret]}",
    ]
    shown += [repr(dataclasses.asdict(holder)), json.dumps(holder, default=str), str(secret)]
    assert not [text for text in shown if value in text]
    with pytest.raises(TypeError, match="JSON serializable"):
        json.dumps(secret)
    assert not hasattr(secret, "__dict__")


def test_a_literal_is_not_pickled(value):
    with pytest.raises(TypeError, match="cannot be pickled") as caught:
        pickle.dumps(Secret(value))
    assert value not in str(caught.value)


def test_a_source_is_pickled_and_its_value_is_not(monkeypatch, value):
    monkeypatch.setenv("BULKFETCH_TEST_SECRET", value)
    secret = Secret("env:BULKFETCH_TEST_SECRET")
    assert secret.reveal() == value
    pickled = pickle.dumps(secret)
    assert value.encode() not in pickled
    assert pickle.loads(pickled).reveal() == value


def test_a_copy_is_the_same(value):
    secret = Secret(value)
    assert copy.copy(secret) is copy.deepcopy(secret) is secret


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("env:NAME", "env:NAME"),
        ("file:~/.key", "file:~/.key"),
        ("keyring:service/user", "keyring:service/user"),
        ("cmd:pass show x", "cmd:pass …"),
        ("env:a\x1bb", r"env:a\x1bb"),
    ],
)
def test_a_source_shows(text, shown):
    assert str(Secret(text)) == shown
    assert repr(Secret(text)) == f"Secret({shown})"


def test_an_error_shows_no_value(tmp_path, value):
    (tmp_path / "key").write_bytes(value.encode() + b"\xff")
    with pytest.raises(SecretMissing) as caught:
        Secret("file:key", tmp_path).reveal()
    chain = [caught.value]
    while (inner := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(inner)
    assert not [error for error in chain if value in f"{error!r}{getattr(error, 'object', '')!r}"]


# -- the redaction layer --------------------------------------------------------------------------


def forms(value: str) -> list[str]:
    """Return ways in which a secret turns up in text."""
    raw = value.encode("utf-8", "surrogatepass")
    plain = [value, quote(raw, safe=""), quote(raw), quote_plus(raw), quote(raw, safe="!$&'()*+,;=:@/?%-._~")]
    plain += [quote(quote(raw, safe=""), safe=""), quote(raw, safe="").lower() if value.islower() else value]
    shown = [json.dumps(value), json.dumps(value, ensure_ascii=False), repr(value)]
    return plain + [text[1:-1] for text in shown]


@given(
    st.lists(st.one_of(VALUE, TRICKY), min_size=1, max_size=4),
    st.lists(ANY, min_size=5, max_size=5),
    st.data(),
)
@example(["****"], ["*", "*", "", "", ""], None)
@example(["x***", "abcd"], ["x", "", "", "", ""], None)
@example(["abcd", "bcdefgh"], ["efgh", "", "", "", ""], None)
@example(["\\\\\\\\"], ["\\", "\\", "", "", ""], None)
@example(["a b%c"], ["", "", "", "", ""], None)
@example(["000\udc80"], ["", "", "", "", ""], None)
def test_no_registered_secret_is_left(values, texts, data):
    known = KnownSecrets()
    for value in values:
        known.add(value)
    parts = [form for value in values for form in forms(value)]
    if data is not None:
        parts = data.draw(st.permutations(parts).map(lambda chosen: chosen[:4]))
    mixed = "".join(text for pair in zip(texts, [*parts, "", "", "", ""], strict=False) for text in pair)
    left = known.mask(mixed)
    assert not [form for value in values for form in forms(value) if form in left]


@given(VALUE, ANY.filter(lambda user: ":" not in user), st.sampled_from([b64encode, urlsafe_b64encode]))
def test_no_basic_authentication_is_left(value, user, encode):
    known = KnownSecrets()
    known.add(value, user)
    sent = encode(f"{user}:{value}".encode("utf-8", "surrogatepass")).decode()
    assert known.mask(f"Authorization: Basic {sent}\n") == f"Authorization: Basic {MASK}\n"


@given(ANY)
def test_without_secrets_text_stays(text):
    assert KnownSecrets().mask(text) == text


@given(VALUE, ANY)
def test_other_text_stays(value, text):
    known = KnownSecrets()
    known.add(value)
    kept = "".join(char for char in text if char not in value and char not in "%+\\")
    assert known.mask(kept) == kept


@pytest.mark.parametrize("value", ["", "a", "abc"])
def test_what_is_too_short_is_not_masked(value):
    known = KnownSecrets()
    known.add(value)
    assert known.mask("abc") == "abc"


def test_overlapping_secrets_leave_nothing_of_each_other():
    known = KnownSecrets()
    known.add("abcd")
    known.add("cdefgh")
    assert known.mask("-abcdefgh-") == f"-{MASK}-"


def test_a_secret_added_later_is_masked():
    known = KnownSecrets()
    known.add("first")
    assert known.mask("first second") == f"{MASK} second"
    known.add("second")
    assert known.mask("first second") == f"{MASK} {MASK}"
    known.add(b64encode(b"second").decode())
    assert known.mask(quote(b64encode(b"second").decode(), safe="")) == MASK


def test_a_known_form_that_becomes_a_secret_is_masked_in_all_its_forms():
    known = KnownSecrets()
    known.add("a?secret", "me")
    inner = b64encode(b"me:a?secret").decode().rstrip("=")
    known.add(inner)
    assert known.mask(f"%{ord(inner[0]):x}{inner[1:]}") == MASK


def test_masking_takes_time_in_proportion():
    known = KnownSecrets()
    known.add('\\"' * 30)
    known.add("%" * 40)
    known.add("a" * 60)
    text = '\\\\"' * 3000 + "%25" * 3000 + "a" * 3000 + "é"
    assert len(known.mask(text)) < len(text)


def test_the_one_layer_knows_what_secrets_learn(monkeypatch, value):
    monkeypatch.setenv("BULKFETCH_TEST_SECRET", value)
    secret = Secret("env:BULKFETCH_TEST_SECRET")
    url = f"https://example.org/{value}/x"
    assert redact_url(url) == url
    secret.reveal()
    assert redact_url(url) == f"https://example.org/{MASK}/x"
    assert redact(f"sent {value!r}") == f"sent '{MASK}'"
    assert not has_secret(url), "names of files must not depend on what else a run knows"


@given(st.data(), ANY, ANY)
def test_redact_leaves_no_registered_secret(data, before, after):
    value = "s3cr3t/+ é&" + "-registered-once"
    Secret(value)
    form = data.draw(st.sampled_from(forms(value)))
    for text in (redact(before + form + after), redact_url(before + form + after), clean(redact(form))):
        assert form not in text
        assert "registered" not in text or "registered" in before + after
