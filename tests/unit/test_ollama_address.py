"""Every form of `OLLAMA_HOST` becomes an address that can be connected to."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmset.adapters.ollama.address import Address, is_local, parse_address
from warmset.errors import ConfigError

FORMS = [
    (None, "http://127.0.0.1:11434"),
    ("", "http://127.0.0.1:11434"),
    ("  ' ' ", "http://127.0.0.1:11434"),
    ("example.com", "http://example.com:11434"),
    ("example.com:56789", "http://example.com:56789"),
    (" 'example.com' ", "http://example.com:11434"),
    ('"1.2.3.4:1"', "http://1.2.3.4:1"),
    ("http://example.com", "http://example.com:80"),
    ("HTTP://Example.com", "http://Example.com:80"),
    ("https://example.com", "https://example.com:443"),
    ("https://example.com:8443", "https://example.com:8443"),
    ("ollama.com", "https://ollama.com:443"),
    ("[::1]", "http://[::1]:11434"),
    ("::1", "http://[::1]:11434"),
    ("[::1]:8080", "http://[::1]:8080"),
    ("http://[fd00::5]", "http://[fd00::5]:80"),
    (":8080", "http://127.0.0.1:8080"),
    ("0.0.0.0", "http://127.0.0.1:11434"),
    ("0.0.0.0:8080", "http://127.0.0.1:8080"),
    ("::", "http://[::1]:11434"),
    ("[::]:8080", "http://[::1]:8080"),
    ("host/ollama", "http://host:11434/ollama"),
    ("http://host:1/a//b/", "http://host:1/a/b"),
    ("https://host/", "https://host:443"),
    ("gpu_box.lan.", "http://gpu_box.lan.:11434"),
]


@pytest.mark.parametrize(("text", "url"), FORMS)
def test_every_form_of_ollama_host_is_understood(text: str | None, url: str) -> None:
    """The URL is where Ollama's own client would connect."""
    assert parse_address(text).url == url


@pytest.mark.parametrize(
    ("text", "port"),
    [("host:", 11434), ("host:x", 11434), ("host:66000", 11434), ("host:-1", 11434),
     ("http://host:x", 80), ("https://[::1]:0", 443)],
)  # fmt: skip
def test_a_bad_port_gives_the_default_and_a_note(text: str, port: int) -> None:
    """The port is the scheme's default, and the note names what was wrong."""
    address = parse_address(text)
    assert address.port == port
    assert "port" in address.notes[0]
    assert str(port) in address.notes[0]


def test_an_any_address_leaves_a_note() -> None:
    """A user who wrote 0.0.0.0 can read that loopback is used."""
    assert "0.0.0.0" in parse_address("0.0.0.0").notes[0]
    assert parse_address("127.0.0.1").notes == ()


@pytest.mark.parametrize(
    "text",
    ["ftp://host", "unix:///run/x", "a b", "a..b", "-x", "x" * 64, "1:2:3", "http://h/?q=1",
     "h/a b", "fe80::1%eth0", "hö.st", "[::1", "::1]", "http://"+"a."*130],
)  # fmt: skip
def test_what_no_client_could_use_is_a_config_error(text: str) -> None:
    """The message shows the value and the hint a form that works."""
    with pytest.raises(ConfigError) as caught:
        parse_address(text)
    assert "Ollama address" in caught.value.message
    assert "HOST" in caught.value.hint


def test_credentials_are_refused_and_not_repeated() -> None:
    """The password does not reach a message or a log."""
    with pytest.raises(ConfigError) as caught:
        parse_address("http://me:secret@host:11434")
    assert "secret" not in str(caught.value)
    assert "host" in str(caught.value)


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_a_config_error(text: str) -> None:
    """No value of the variable gives a traceback, and what is accepted is sound."""
    try:
        address = parse_address(text)
    except ConfigError:
        return
    assert 0 < address.port <= 65535
    assert address.host
    assert address.url.isascii()


@given(st.sampled_from([form for form, _ in FORMS]))
def test_an_address_means_the_same_when_its_url_is_read_again(form: str | None) -> None:
    """A URL that warmset prints can be given back to it."""
    address = parse_address(form)
    again = parse_address(address.url)
    assert (again.url, again.notes) == (address.url, ())


@pytest.mark.parametrize("text", ["127.0.0.1", "127.8.9.1", "localhost", "LOCALHOST.", "[::1]"])
def test_loopback_is_local(text: str) -> None:
    """What never leaves the machine is this machine."""
    address = parse_address(text)
    assert address.is_loopback
    assert is_local(address)


def test_the_machines_own_name_is_local(monkeypatch: pytest.MonkeyPatch) -> None:
    """Name and short name count, an equal beginning does not."""
    monkeypatch.setattr(socket, "gethostname", lambda: "gpu1.lan")
    names = {"gpu1.lan": True, "GPU1": True, "gpu1.lan.": True, "gpu": False, "gpu1.wan": False}
    assert {name: is_local(parse_address(name)) for name in names} == names


def test_another_machines_address_is_not_local() -> None:
    """A documentation address is on no interface of ours."""
    assert not is_local(parse_address("192.0.2.7"))
    assert not is_local(parse_address("[2001:db8::7]"))
    assert not Address(scheme="http", host="192.0.2.7", port=1).is_loopback
