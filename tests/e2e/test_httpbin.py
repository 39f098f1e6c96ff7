"""httpbin, unchanged, behind the gateway: clients notice nothing but that they need a key."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import json
import sys
import tempfile
import zlib
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import brotlicffi  # type: ignore[import-untyped]
import httpx
import pytest
import requests

from conftest import find_free_port, require_program
from e2e import serve_httpbin
from e2e.gateways import Gateway, serving
from e2e.processes import listens, run, running, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MIB = 1024 * 1024
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding"}
OF_THE_MOMENT = {"date"}
STATUSES = (200, 201, 204, 205, 301, 302, 303, 304, 307, 400, 401, 404, 406, 418, 429, 500, 503)


@dataclass(frozen=True)
class Site:
    """httpbin at two addresses: as it is, and behind the gateway."""

    direct_port: int
    gateway: Gateway
    key: str
    key_id: str

    @property
    def url(self) -> str:
        return self.gateway.url


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    port = find_free_port()
    with (
        tempfile.TemporaryDirectory(prefix="sg-") as path,
        running(
            sys.executable, serve_httpbin.__file__, str(port), directory=Path(path) / "httpbin"
        ) as httpbin,
    ):
        wait_until(lambda: listens(port), "httpbin starts", process=httpbin)
        with serving(Path(path), f"http://127.0.0.1:{port}") as gateway:
            gateway.fill()
            key = gateway.create_key()
            yield Site(port, gateway, key["secret"], key["id"])
            assert gateway.process.stop() == 0


class Client:
    """requests and httpx with one face; both carry the key."""

    def __init__(self, kind: str, site: Site) -> None:
        self._follows = "follow_redirects" if kind == "httpx" else "allow_redirects"
        self._content = "content" if kind == "httpx" else "data"
        self._base = site.url
        self.session: Any
        if kind == "httpx":
            self.session = httpx.Client(timeout=30, trust_env=False)
        else:
            self.session = requests.Session()
            self.session.trust_env = False
        self.session.headers["X-API-Key"] = site.key

    def __call__(
        self, method: str, path: str, *, content: object = None, follow: bool = True, **options: Any
    ) -> Any:
        if content is not None:
            options[self._content] = content
        options[self._follows] = follow
        return self.session.request(method, f"{self._base}{path}", **options)


@pytest.fixture(params=["requests", "httpx"])
def client(site: Site, request: pytest.FixtureRequest) -> Iterator[Client]:
    client = Client(request.param, site)
    yield client
    client.session.close()


# What the origin sees


def test_without_a_key_the_origin_is_not_reached(site: Site) -> None:
    refused = site.gateway.get("/get")
    assert refused.status_code == 401
    assert refused.json()["code"] == "key_missing"


def test_the_origin_sees_the_request_and_who_it_is_but_not_the_key(client: Client, site: Site) -> None:
    answer = client(
        "GET",
        "/get?show_env=1",
        headers={"X-Scopegate-User": "root", "X_Scopegate_User": "root", "X-Mine": "a, b", "Accept": "x/y"},
    ).json()
    headers = answer["headers"]
    assert answer["args"] == {"show_env": "1"}
    assert answer["origin"] == "127.0.0.1"
    assert site.key not in json.dumps(answer)
    assert not [name for name in headers if name.lower() in {"x-api-key", "authorization"}]
    assert headers["X-Scopegate-Key-Id"] == site.key_id
    assert "X-Scopegate-Tenant" in headers
    assert "X-Scopegate-User" not in headers
    assert headers["Host"] == headers["X-Forwarded-Host"] == site.url.removeprefix("http://")
    assert headers["X-Forwarded-Proto"] == "http"
    assert headers["X-Mine"] == "a, b"
    assert headers["Accept"] == "x/y"


def test_a_bearer_key_does_not_arrive_and_basic_credentials_do(site: Site) -> None:
    bearer = httpx.get(f"{site.url}/headers", headers={"Authorization": f"Bearer {site.key}"}).json()
    assert "Authorization" not in bearer["headers"]
    basic = httpx.get(
        f"{site.url}/basic-auth/ana/secret", auth=("ana", "secret"), headers={"X-API-Key": site.key}
    )
    assert basic.json() == {"authenticated": True, "user": "ana"}


@pytest.mark.parametrize(
    "query", ["a=1&a=2&b=", "x=%2F%3d&y=a+b", "q=%E6%97%A5%E6%9C%AC", "=&&a", "url=http://x/?y=1&z"]
)
def test_the_query_arrives_as_it_was_sent(site: Site, query: str) -> None:
    through, direct = _both(site, "GET", f"/anything?{query}")
    assert through == direct
    assert json.loads(through.body)["args"]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_body_arrives_as_json_as_a_form_and_in_parts(client: Client, method: str) -> None:
    path = f"/{method.lower()}"
    as_json = client(method, path, json={"name": "Zoë", "n": [1, 2]}).json()
    assert as_json["json"] == {"name": "Zoë", "n": [1, 2]}
    assert as_json["headers"]["Content-Type"] == "application/json"
    as_form = client(method, path, data={"a": "1 & 2", "b": "ü"}).json()
    assert as_form["form"] == {"a": "1 & 2", "b": "ü"}
    in_parts = client(method, path, files={"file": ("x.txt", b"text of the file")}, data={"a": "1"}).json()
    assert in_parts["files"] == {"file": "text of the file"}
    assert in_parts["form"] == {"a": "1"}
    without = client(method, path).json()
    assert without["data"] == ""


def test_large_bodies_pass_both_ways(client: Client) -> None:
    body = b"0123456789abcdef" * (8 * MIB // 16)
    answer = client("POST", "/anything", content=body, headers={"Content-Type": "text/plain"})
    assert answer.status_code == 200
    assert len(answer.content) > 8 * MIB
    assert hashlib.sha256(answer.json()["data"].encode()).digest() == hashlib.sha256(body).digest()


def test_a_body_of_unknown_length_arrives_in_chunks(client: Client) -> None:
    def pieces() -> Iterator[bytes]:
        for number in range(1000):
            yield b"%04d," % number * 20

    answer = client("POST", "/anything", content=pieces(), headers={"Content-Type": "text/plain"}).json()
    assert answer["data"] == b"".join(pieces()).decode()
    assert answer["headers"]["Transfer-Encoding"] == "chunked"
    assert "Content-Length" not in answer["headers"]


def test_curl_s_expectation_is_met_and_the_body_arrives(site: Site, tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(b"x" * 2 * MIB)
    done = run(
        *(require_program("curl"), "-sS", "-D", tmp_path / "heads", "--data-binary", f"@{body}"),
        *("-H", f"X-API-Key: {site.key}", "-H", "Expect: 100-continue", "-H", "Content-Type: text/plain"),
        f"{site.url}/post",
    )
    assert done.code == 0, done.err
    statuses = [line.split()[1] for line in (tmp_path / "heads").read_text().splitlines() if "HTTP/" in line]
    # This upstream says 100 twice, which is for the client to bear.
    assert (set(statuses[:-1]), statuses[-1]) == ({"100"}, "200")
    assert len(json.loads(done.out)["data"]) == 2 * MIB


def test_connections_carry_many_requests(client: Client) -> None:
    for number in range(50):
        assert client("GET", f"/get?n={number}").json()["args"] == {"n": str(number)}
        assert client("POST", "/post", content=b"%d" % number).json()["data"] == str(number)


# What the client gets


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        *(("GET", f"/status/{code}", {}) for code in STATUSES),
        *(("POST", f"/status/{code}", {}) for code in (200, 201, 409)),
        ("GET", "/nothing/here", {}),
        ("PUT", "/get", {}),
        ("OPTIONS", "/get", {}),
        ("HEAD", "/get", {}),
        ("HEAD", "/image/png", {}),
        ("HEAD", "/status/404", {}),
        ("HEAD", "/stream/3", {}),
        ("GET", "/encoding/utf8", {}),
        ("GET", "/image/png", {}),
        ("GET", "/image", {"Accept": "image/webp"}),
        ("GET", "/html", {}),
        ("GET", "/xml", {}),
        ("GET", "/base64/U2NvcGVnYXRl", {}),
        ("GET", "/bytes/102400?seed=7", {}),
        ("GET", "/stream-bytes/102400?seed=7&chunk_size=333", {}),
        ("GET", "/drip?duration=0.2&numbytes=20", {}),
        ("GET", "/drip?duration=0.1&numbytes=5&code=500", {}),
        ("GET", "/etag/abc", {}),
        ("GET", "/etag/abc", {"If-None-Match": '"abc"'}),
        ("GET", "/etag/abc", {"If-Match": '"other"'}),
        ("GET", "/cache", {"If-Modified-Since": "Wed, 01 Jan 2025 00:00:00 GMT"}),
        ("GET", "/cache/60", {}),
        ("GET", "/range/1000", {"Range": "bytes=10-19"}),
        ("GET", "/range/1000", {"Range": "bytes=990-"}),
        ("GET", "/range/1000", {"Range": "bytes=2000-"}),
        ("GET", "/redirect/2", {}),
        ("GET", "/relative-redirect/2", {}),
        ("GET", "/redirect-to?url=https%3A%2F%2Fexample.com%2F%3Fa%3Db%2520c%23d&status_code=308", {}),
        ("GET", "/cookies/set?a=1&b=2", {}),
        ("GET", "/cookies/delete?a", {"Cookie": "a=1"}),
        ("GET", "/response-headers?X-Twice=1&X-Twice=2&Set-Cookie=a%3D1&Set-Cookie=b%3D2%3B+Path%3D%2F", {}),
        ("GET", "/response-headers?Link=%3C%2Fa%3E&Via=1.0+other&Content-Language=de%2C+fr&X-Empty=", {}),
        ("GET", "/links/3/1", {}),
        ("GET", "/deny", {}),
    ],
)
def test_the_answer_is_the_origin_s_byte_for_byte(
    site: Site, method: str, path: str, headers: dict[str, str]
) -> None:
    through, direct = _both(site, method, path, headers)
    assert through == direct


@pytest.mark.parametrize(
    ("coding", "path", "decode"),
    [
        ("gzip", "/gzip", gzip.decompress),
        ("deflate", "/deflate", zlib.decompress),
        ("br", "/brotli", brotlicffi.decompress),
    ],
)
def test_a_coded_body_is_not_touched(site: Site, coding: str, path: str, decode: Any) -> None:
    through, direct = _both(site, "GET", path)
    assert _timeless(through, coding) == _timeless(direct, coding)
    assert ("content-encoding", coding) in through.headers
    assert json.loads(decode(through.body))["headers"]["X-Scopegate-Key-Id"] == site.key_id


def test_clients_decode_what_the_origin_coded(client: Client) -> None:
    assert client("GET", "/gzip").json()["gzipped"] is True
    assert client("GET", "/deflate").json()["deflated"] is True
    assert client("GET", "/brotli").json()["brotli"] is True
    assert "∮ E⋅da = Q" in client("GET", "/encoding/utf8").text
    assert client("GET", "/image/png").content.startswith(b"\x89PNG")


def test_a_stream_comes_line_by_line(client: Client) -> None:
    answer = client("GET", "/stream/20")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["id"] for line in lines] == list(range(20))
    assert "content-length" not in answer.headers


def test_a_slow_body_arrives_as_it_comes(site: Site) -> None:
    with (
        httpx.Client(trust_env=False, timeout=30, headers={"X-API-Key": site.key}) as client,
        client.stream("GET", f"{site.url}/drip?duration=1&numbytes=5") as answer,
    ):
        pieces = list(answer.iter_raw())
    assert b"".join(pieces) == b"*****"
    assert len(pieces) > 1


def test_a_redirect_is_the_client_s_to_follow(client: Client, site: Site) -> None:
    first = client("GET", "/absolute-redirect/3", follow=False)
    assert first.status_code == 302
    assert first.headers["location"] == f"{site.url}/absolute-redirect/2"
    last = client("GET", "/absolute-redirect/3")
    assert last.json()["url"] == f"{site.url}/get"
    assert len(last.history) == 3
    elsewhere = client("GET", "/redirect-to?url=http://127.0.0.1:1/x%20y", follow=False)
    assert elsewhere.headers["location"] == "http://127.0.0.1:1/x%20y"


def test_cookies_are_the_client_s_own(site: Site) -> None:
    clients = [Client(kind, site) for kind in ("requests", "httpx", "requests", "httpx")]
    try:
        for number, client in enumerate(clients):
            client("GET", f"/cookies/set?who={number}&only{number}=1")
        for number, client in enumerate(clients):
            assert client("GET", "/cookies").json() == {"cookies": {"who": str(number), f"only{number}": "1"}}
        clients[0]("GET", "/cookies/delete?who")
        assert clients[0]("GET", "/cookies").json() == {"cookies": {"only0": "1"}}
        assert clients[1]("GET", "/cookies").json()["cookies"]["who"] == "1"
    finally:
        for client in clients:
            client.session.close()


# Side by side


@dataclass(frozen=True)
class Exchange:
    """An answer as it came, its body out of the chunks but not decoded."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def _both(
    site: Site, method: str, path: str, headers: Mapping[str, str] | None = None
) -> tuple[Exchange, Exchange]:
    """The answer through the gateway, and the one without it to the same request.

    Many answers repeat the request, so the direct one has all fields that the gateway's has.
    """
    sent = {**(headers or {}), "X-API-Key": site.key}
    seen = json.loads(_exchange(site.gateway.port, "GET", "/headers?show_env=1", sent).body)["headers"]
    return _exchange(site.gateway.port, method, path, sent), _exchange(site.direct_port, method, path, seen)


def _exchange(port: int, method: str, path: str, headers: Mapping[str, str]) -> Exchange:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request(method, path, headers=dict(headers))
        answer = connection.getresponse()
        body = answer.read()
        # Fields of one name keep their order; that of the names means nothing.
        kept = sorted(
            ((name.lower(), value) for name, value in answer.getheaders()), key=lambda field: field[0]
        )
    return Exchange(
        answer.status,
        tuple(field for field in kept if field[0] not in HOP_BY_HOP | OF_THE_MOMENT),
        body,
    )


def _timeless(exchange: Exchange, coding: str) -> Exchange:
    if coding != "gzip":
        return exchange
    body = exchange.body[:4] + bytes(4) + exchange.body[8:]
    return Exchange(exchange.status, exchange.headers, body)
