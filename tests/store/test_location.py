"""What a Redis URL and the settings beside it say together."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from scopegate.core.errors import ConfigurationError
from scopegate.store.location import (
    Address,
    Credentials,
    Kind,
    Location,
    RedisOptions,
    Socket,
    Tls,
    locate,
    locate_if_given,
)

PASSWORD = "s3cret-pa55word"
KIM = Credentials("kim", PASSWORD)
H = Address("h", 6379)
THREE_SENTINELS = (Address("h1", 26379), Address("h2", 26380), Address("::1", 26379))


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("redis://", Location(Kind.SERVER, (Address("localhost", 6379),))),
        ("redis://h", Location(Kind.SERVER, (H,))),
        ("REDIS://h/", Location(Kind.SERVER, (H,))),
        ("redis://h:1/2", Location(Kind.SERVER, (Address("h", 1),), database=2)),
        ("redis://h?db=3", Location(Kind.SERVER, (H,), database=3)),
        ("redis://[2001:db8::1]:1", Location(Kind.SERVER, (Address("2001:db8::1", 1),))),
        (f"redis://kim:{PASSWORD}@h", Location(Kind.SERVER, (H,), credentials=KIM)),
        (f"redis://:{PASSWORD}@h", Location(Kind.SERVER, (H,), credentials=Credentials(None, PASSWORD))),
        ("redis://a%40b:p%2Fq%3A@h", Location(Kind.SERVER, (H,), credentials=Credentials("a@b", "p/q:"))),
        ("rediss://h", Location(Kind.SERVER, (H,), tls=Tls())),
        ("unix:///run/redis.sock", Location(Kind.SERVER, (Socket("/run/redis.sock"),))),
        (
            f"unix://kim:{PASSWORD}@/a%20b/redis.sock?db=3",
            Location(Kind.SERVER, (Socket("/a b/redis.sock"),), database=3, credentials=KIM),
        ),
        (
            "redis+sentinel://h1,h2:26380,[::1]/main",
            Location(Kind.SENTINEL, THREE_SENTINELS, service="main"),
        ),
        (
            f"rediss+sentinel://kim:{PASSWORD}@h1,h2:26380,[::1]:26379/main/4",
            Location(Kind.SENTINEL, THREE_SENTINELS, service="main", database=4, credentials=KIM, tls=Tls()),
        ),
        ("redis+sentinel://h1/main?db=2", Location(Kind.SENTINEL, THREE_SENTINELS[:1], 2, "main")),
        ("redis+cluster://h,h:7001", Location(Kind.CLUSTER, (H, Address("h", 7001)))),
        ("redis+cluster://h/0", Location(Kind.CLUSTER, (H,))),
        ("rediss+cluster://h", Location(Kind.CLUSTER, (H,), tls=Tls())),
    ],
)
def test_every_form_of_url_is_read(url: str, location: Location) -> None:
    assert locate(url) == location


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h:6379",
        "http://h",
        "valkey://h",
        "redis+http://h",
        "redis+://h",
        "redis+server://h",
        "unix+sentinel:///s/main",
        "unix://",
        "unix:///",
        "unix://h/redis.sock",
        "redis://h,h2",
        "redis://h,",
        "redis://h:0",
        "redis://h:99999",
        f"redis://h:{'9' * 5000}",
        "redis://h:\uff11",
        "redis://h\u00e4",
        "redis://::1",
        "redis://[::1",
        "redis://h/x",
        "redis://h/-1",
        f"redis://h/{'9' * 5000}",
        "redis://h/1?db=2",
        "redis://h?db=1&db=2",
        "redis://h?db",
        "redis://h?socket_timeout=9",
        "rediss://h?ssl_cert_reqs=none",
        "redis://h#x",
        "redis://h#",
        "redis+sentinel://h",
        "redis+sentinel://h/",
        "redis+sentinel://h,h/main",
        "redis+sentinel://h/main/x",
        "redis+cluster://h/1",
        "redis+cluster://h:6379,h",
    ],
)
def test_what_makes_no_sense_is_refused_without_the_password(url: str) -> None:
    given = url.replace("://", f"://kim:{PASSWORD}@", 1)
    for text in (url, given):
        with pytest.raises(ConfigurationError) as refused:
            locate(text)
        assert refused.value.setting == "redis_url"
        assert refused.value.hint
        assert PASSWORD not in "".join(traceback.format_exception(refused.value))


def test_settings_beside_the_url_say_what_it_does_not() -> None:
    options = RedisOptions(
        username="kim",
        password=PASSWORD,
        ca=Path("/ca"),
        certificate=Path("/certificate"),
        sentinel_username="watcher",
        sentinel_password="other",
    )
    found = locate("rediss+sentinel://h1/main", options)
    assert found.credentials == KIM
    assert found.sentinel_credentials == Credentials("watcher", "other")
    assert found.tls == Tls(Path("/ca"), Path("/certificate"))
    assert PASSWORD not in repr(found) + repr(options)
    assert "other" not in repr(found) + repr(options)


def test_what_is_said_twice_has_to_be_the_same() -> None:
    url = f"redis://kim:{PASSWORD}@h"
    assert locate(url, RedisOptions(username="kim", password=PASSWORD)).credentials == KIM
    for options, setting in (
        (RedisOptions(username="lou"), "redis_username"),
        (RedisOptions(password="other"), "redis_password"),
    ):
        with pytest.raises(ConfigurationError) as refused:
            locate(url, options)
        assert refused.value.setting == setting
        assert PASSWORD not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(
    ("url", "options", "setting"),
    [
        ("redis://h", RedisOptions(ca=Path("/ca")), "redis_ca"),
        ("unix:///s", RedisOptions(certificate=Path("/c")), "redis_certificate"),
        ("redis+cluster://h", RedisOptions(ca=Path("/ca")), "redis_ca"),
        ("redis://h", RedisOptions(sentinel_password=PASSWORD), "redis_sentinel_password"),
        ("redis+cluster://h", RedisOptions(sentinel_username="w"), "redis_sentinel_username"),
        (None, RedisOptions(username="kim"), "redis_username"),
        (None, RedisOptions(password=PASSWORD), "redis_password"),
        (None, RedisOptions(ca=Path("/ca")), "redis_ca"),
    ],
)
def test_what_is_given_in_vain_is_refused(url: str | None, options: RedisOptions, setting: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        locate_if_given(url, options)
    assert refused.value.setting == setting
    assert refused.value.hint
    assert PASSWORD not in "".join(traceback.format_exception(refused.value))


def test_without_url_and_options_there_is_no_location() -> None:
    assert locate_if_given(None, RedisOptions()) is None
