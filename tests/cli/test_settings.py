"""Settings: three sources, one order, and errors that name the setting."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scopegate import settings
from scopegate.core.errors import ConfigurationError
from scopegate.core.forwarding import TrustedProxies
from scopegate.core.limits import Limits
from scopegate.core.oidc import Registration
from scopegate.settings import Address, Settings

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "do-not-show-me"


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith("SCOPEGATE_"):
            monkeypatch.delenv(name)


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str | bytes], Path]:
    """Writes the settings file."""

    def write(text: str | bytes) -> Path:
        file = tmp_path / "settings.yaml"
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        monkeypatch.setenv("SCOPEGATE_CONFIG", str(file))
        return file

    return write


def test_everything_has_a_default_but_the_upstream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    loaded = settings.load()
    assert loaded.upstream is None
    assert loaded.listen == Address("127.0.0.1", 8080)
    assert loaded.admin_listen == Address("127.0.0.1", 8081)
    assert (loaded.forward_auth_listen, loaded.forward_auth_dialect) == (None, "forwarded")
    assert loaded.redis_url is None
    assert loaded.data_dir == Path("/data/scopegate")
    assert (loaded.workers, loaded.key_prefix, loaded.key_header) == (1, "sg", "X-API-Key")
    assert loaded.pepper_bytes is None
    assert (loaded.total_timeout, loaded.drain_timeout) == (0, 10)
    assert (loaded.client_head_timeout, loaded.client_idle_timeout) == (10, 75)
    assert (loaded.max_target, loaded.max_head, loaded.max_fields) == (8192, 32768, 128)
    assert loaded.trusted_proxies == TrustedProxies()
    assert loaded.failed_auth_limit == 60
    assert (loaded.max_body, loaded.max_connections) == (2**30, 16384)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("upstream", "http://127.0.0.1:9000", "http://127.0.0.1:9000"),
        ("listen", "0.0.0.0:80", Address("0.0.0.0", 80)),
        ("listen", "[::1]:8080", Address("::1", 8080)),
        ("admin_listen", "localhost:65535", Address("localhost", 65535)),
        ("workers", "2", 2),
        ("workers", "256", 256),
        ("total_timeout", "0", 0),
        ("drain_timeout", "0", 0),
        ("client_idle_timeout", "0.5", 0.5),
        ("max_body", "0", 0),
        ("trusted_proxies", "10.0.0.0/8, ::1,", TrustedProxies.parse(["10.0.0.0/8", "::1"])),
        ("max_head", "65536", 65_536),
        ("key_prefix", "acme", "acme"),
        ("key_header", "X-Acme-Key", "X-Acme-Key"),
        ("data_dir", "/var/lib/scopegate", Path("/var/lib/scopegate")),
        ("data_dir", "~/keys", Path("~/keys").expanduser()),
    ],
)
def test_each_source_gives_the_same_value(
    monkeypatch: pytest.MonkeyPatch, write: Callable[[str], Path], name: str, text: str, value: object
) -> None:
    assert getattr(settings.load(**{name: text}), name) == value
    with monkeypatch.context() as environment:
        environment.setenv(f"SCOPEGATE_{name.upper()}", text)
        assert getattr(settings.load(), name) == value
    write(f'{name}: "{text}"\n')
    assert getattr(settings.load(), name) == value


def test_proxies_in_a_file_are_a_list(write: Callable[[str], Path]) -> None:
    write("trusted_proxies:\n  - 10.0.0.0/8\n  - ::1\n")
    assert settings.load().trusted_proxies == TrustedProxies.parse(["10.0.0.0/8", "::1"])


def test_each_limit_is_set_by_its_own_setting() -> None:
    loaded = settings.load(max_target=1001, max_head=2002, max_fields=303, max_body=0)
    assert loaded.limits == Limits(target=1001, head=2002, fields=303, body=0)


def test_upstreams_are_a_list_in_the_file_and_json_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, write: Callable[[str], Path]
) -> None:
    write("upstreams:\n  - url: http://a\n    host: h\n  - urls: [http://b, http://c]\n    prefix: /b\n")
    from_file = settings.load().upstreams
    assert [(row.url, row.urls, row.host, row.prefix) for row in from_file] == [
        ("http://a", (), "h", ""),
        (None, ("http://b", "http://c"), None, "/b"),
    ]
    monkeypatch.setenv(
        "SCOPEGATE_UPSTREAMS",
        '[{"url": "http://a", "host": "h"}, {"urls": ["http://b", "http://c"], "prefix": "/b"}]',
    )
    monkeypatch.delenv("SCOPEGATE_CONFIG")
    assert settings.load().upstreams == from_file


@pytest.mark.parametrize(
    ("upstreams", "setting", "says"),
    [
        (SECRET, "upstreams", "no JSON"),
        (7, "upstreams", "a list"),
        ({"url": SECRET}, "upstreams", "a list"),
        ([SECRET], "upstreams[0]", "a mapping"),
        ([{"url": SECRET}, {}], "upstreams[1]", "either a url or a list"),
        ([{"urls": []}], "upstreams[0]", "either a url or a list"),
        ([{"url": SECRET, "urls": [SECRET]}], "upstreams[0]", "either a url or a list"),
        ([{"urls": SECRET}], "upstreams[0].urls", "a list"),
        ([{"urls": [SECRET, [SECRET]]}], "upstreams[0].urls[1]", "a valid string"),
        ([{"url": SECRET, "prefx": "/a"}], "upstreams[0].prefx", "no such setting"),
        ([{"url": SECRET, "connections": 0}], "upstreams[0].connections", "greater than"),
        ([{"url": SECRET, "head_timeout": 0}], "upstreams[0].head_timeout", "greater than"),
        ([{"url": SECRET, "total_timeout": -1}], "upstreams[0].total_timeout", "greater than"),
        ([{"url": SECRET, "host_policy": "mine"}], "upstreams[0].host_policy", "preserve"),
        ([{"url": SECRET, "ca": "/nowhere.pem"}], "upstreams[0].ca", "file"),
    ],
)
def test_an_upstream_that_cannot_be_used_is_refused_by_its_place(
    write: Callable[[str], Path], upstreams: object, setting: str, says: str
) -> None:
    write(json.dumps({"upstreams": upstreams}))
    refused = _refused()
    assert refused.setting == setting
    assert says in refused.message
    assert refused.hint
    assert SECRET not in str(refused) + refused.hint
    if setting.endswith("prefx"):
        assert "strip_prefix" in refused.hint


def test_a_flag_outranks_the_environment_and_that_the_file(
    monkeypatch: pytest.MonkeyPatch, write: Callable[[str], Path]
) -> None:
    write("workers: 2\nlisten: 127.0.0.1:1002\nkey_prefix: file\n")
    monkeypatch.setenv("SCOPEGATE_WORKERS", "3")
    monkeypatch.setenv("SCOPEGATE_LISTEN", "127.0.0.1:1003")
    loaded = settings.load(workers=4, listen=None)
    assert loaded.workers == 4
    assert loaded.listen.port == 1003
    assert loaded.key_prefix == "file"


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCOPEGATE_WORKERS", "")
    monkeypatch.setenv("SCOPEGATE_CONFIG", "")
    assert settings.load().workers == 1


def test_an_empty_file_says_nothing(write: Callable[[str], Path]) -> None:
    write("# later\n")
    assert settings.load().workers == 1


def test_a_flag_that_names_a_directory_outranks_a_redis_from_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SCOPEGATE_REDIS_URL", "redis://127.0.0.1")
    assert settings.load().redis_url is not None
    assert settings.load(data_dir=Path("/d")).redis_url is None
    assert settings.load(data_dir=Path("/d"), redis_url="redis://127.0.0.1").redis_url is not None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            (name, value)
            for name in ("listen", "admin_listen")
            for value in (
                "",
                "8080",
                ":8080",
                "host:",
                "host:0",
                "host:65536",
                "host:x",
                "host:\uff18\uff10",
                "[]:80",
            )
        ),
        ("listen", 8080),
        ("listen", None),
        ("workers", 0),
        ("workers", 257),
        ("workers", "two"),
        ("workers", 1.5),
        *(
            (name, value)
            for name in ("client_head_timeout", "client_idle_timeout")
            for value in (0, -1, 86_401, ".nan", "soon")
        ),
        *((name, value) for name in ("total_timeout", "drain_timeout") for value in (-1, 86_401, ".nan")),
        ("max_target", 255),
        ("max_head", 1_023),
        ("max_fields", 7),
        ("max_body", -1),
        ("max_connections", 0),
        ("failed_auth_limit", -1),
        ("failed_auth_limit", 1_000_001),
        ("failed_auth_limit", 0.5),
        ("trusted_proxies", "10.0.0.1/8"),
        ("trusted_proxies", ["::1", "proxy.test"]),
        ("trusted_proxies", [10]),
        ("trusted_proxies", 10),
        ("upstream", ["http://a"]),
        ("key_prefix", ""),
        ("key_prefix", "s_"),
        ("key_prefix", "1st"),
        ("key_prefix", "adm"),
        ("key_prefix", "x" * 17),
        ("key_header", ""),
        ("key_header", "X Key"),
        ("key_header", "X-Schlüssel"),
        ("key_header", "X-Key\r\nEvil"),
        ("pepper", SECRET),
        ("pepper", 12345),
        ("redis_url", [SECRET]),
        ("admin_url", "http://scopegate.example.com"),
        ("admin_url", "scopegate.example.com"),
        ("oidc_issuer", "http://id.example.com"),
        ("oidc_issuer", "https://id.example.com?tenant=1"),
        ("oidc_issuer", 7),
        ("oidc_scopes", "email profile"),
        ("oidc_client_secret", [SECRET]),
        ("oidc_trust_email", "perhaps"),
        ("data_dir", 7),
        ("data_dir", "~nobody-of-that-name/keys"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_name(
    write: Callable[[str], Path], name: str, value: object
) -> None:
    write(json.dumps({name: value}))  # JSON is YAML
    refused = _refused()
    assert refused.setting == name
    assert refused.message.endswith(".")
    assert not refused.message.endswith("..")
    assert refused.hint == Settings.model_fields[name].description
    assert SECRET not in str(refused)


def test_a_setting_that_does_not_exist_is_refused_with_those_that_do(write: Callable[[str], Path]) -> None:
    write("lisen: 127.0.0.1:80\n")
    refused = _refused()
    assert refused.setting == "lisen"
    assert refused.hint is not None
    assert "listen" in refused.hint


@pytest.mark.parametrize(
    "content",
    [
        f"pepper: [{SECRET}\n",
        f'pepper: "{SECRET}',
        f"pepper: !!python/object/apply:os.system [{SECRET}]\n",
        f"- {SECRET}\n",
        SECRET,
        f"1: {SECRET}\n",
        b"pepper: " + SECRET.encode() + b"\xff\n",
        f"pepper: {SECRET}\nother: *nothing\n",
    ],
    ids=["list", "quote", "tag", "sequence", "scalar", "number", "encoding", "alias"],
)
def test_a_file_that_cannot_be_read_is_one_line_that_keeps_its_secrets(
    write: Callable[[str | bytes], Path], content: str | bytes
) -> None:
    file = write(content)
    refused = _refused()
    assert refused.setting == "config"
    assert str(file) in refused.message
    assert SECRET not in refused.message
    assert "\n" not in refused.message
    assert refused.hint


@pytest.mark.parametrize("place", ["nowhere.yaml", "."])
def test_a_file_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.setenv("SCOPEGATE_CONFIG", str(tmp_path / place))
    assert _refused().setting == "config"


def test_an_address_beside_the_settings_is_named_as_its_caller_says() -> None:
    assert settings.parse_address("upstream_listen", "[::1]:9000") == Address("::1", 9000)
    with pytest.raises(ConfigurationError) as refused:
        settings.parse_address("upstream_listen", "9000")
    assert refused.value.setting == "upstream_listen"


@pytest.mark.parametrize(
    ("address", "text", "url"),
    [
        (Address("127.0.0.1", 80), "127.0.0.1:80", "http://127.0.0.1:80"),
        (Address("0.0.0.0", 80), "0.0.0.0:80", "http://127.0.0.1:80"),
        (Address("::", 80), "[::]:80", "http://[::1]:80"),
        (Address("::1", 80), "[::1]:80", "http://[::1]:80"),
        (Address("localhost", 80), "localhost:80", "http://localhost:80"),
    ],
)
def test_an_address_knows_where_it_is_reached(address: Address, text: str, url: str) -> None:
    assert (str(address), address.url) == (text, url)


def test_secrets_are_not_shown() -> None:
    loaded = settings.load(
        redis_url=f"redis://:{SECRET}@h", pepper=SECRET * 2, **PROVIDER, oidc_client_secret=SECRET
    )
    assert SECRET not in repr(loaded) + str(loaded) + repr(loaded.oidc)
    assert loaded.pepper_bytes == (SECRET * 2).encode()


PROVIDER = {"oidc_issuer": "https://id.example.com", "oidc_client_id": "scopegate"}


def test_a_provider_needs_no_secret_and_people_come_to_where_it_is_said() -> None:
    assert settings.load().oidc is None
    loaded = settings.load(**PROVIDER)
    assert loaded.oidc == Registration("https://id.example.com", "scopegate")
    assert loaded.public_admin_url == "http://127.0.0.1:8081"
    assert settings.load(admin_url="https://a.example.com/x/").public_admin_url == "https://a.example.com/x"


@pytest.mark.parametrize(
    ("flags", "setting"),
    [
        ({"oidc_issuer": "https://id.example.com"}, "oidc_client_id"),
        ({**PROVIDER, "admin_listen": "0.0.0.0:8081"}, "admin_url"),
        ({**PROVIDER, "admin_listen": "10.0.0.5:8081"}, "admin_url"),
    ],
)
def test_a_provider_that_could_send_nobody_back_is_refused(flags: dict[str, str], setting: str) -> None:
    loaded = settings.load(**flags)
    with pytest.raises(ConfigurationError) as refused:
        _ = loaded.oidc
    assert refused.value.setting == setting
    assert refused.value.hint
    said = settings.load(**{**PROVIDER, **flags, "admin_url": "https://scopegate.example.com"})
    assert said.oidc is not None


def _refused(**flags: Any) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as refused:
        settings.load(**flags)
    return refused.value
