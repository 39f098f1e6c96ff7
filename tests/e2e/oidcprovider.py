"""A real OpenID Connect provider as a process, `oidc-provider-mock`, that can be told to misbehave.

It holds clients to PKCE, which the package does not, and ``PUT /misbehaviour`` changes what it answers
from then on: ``{"claims": {...}}`` other ID tokens (null: without the claim), ``{"signed_by": "another"}``,
``"none"`` or ``"secret"`` other signatures, ``{"status": 401, "answer": {...}}`` no tokens at all.
``POST /rotation`` gives it another key. Run it with its port.
"""

from __future__ import annotations

import hmac
import os
import sys
from base64 import urlsafe_b64encode
from contextlib import contextmanager
from hashlib import sha256
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import httpx

from conftest import find_free_port
from e2e.processes import listens, running, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

CLIENT_ID = "scopegate"
CLIENT_SECRET = "a-secret-of-ours-at-the-provider"


class Provider:
    """A running provider, and what can be said to it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx.Client(base_url=url, trust_env=False, timeout=30)

    def knows(self, subject: str, **claims: object) -> None:
        """Have it know somebody with these claims."""
        self._http.put(f"/users/{subject}", json=claims).raise_for_status()

    def misbehaves(self, **how: object) -> None:
        """Have it issue other ID tokens; with nothing, it behaves again."""
        self._http.put("/misbehaviour", json=how).raise_for_status()

    def rotates(self) -> None:
        """Have it sign with another key."""
        self._http.post("/rotation").raise_for_status()

    def close(self) -> None:
        self._http.close()


@contextmanager
def provider(directory: Path) -> Iterator[Provider]:
    """A provider that listens."""
    port = find_free_port()
    with running(
        sys.executable,
        Path(__file__),
        str(port),
        directory=directory,
        # It refuses plain http otherwise, and runs with warnings that are none of ours.
        env={"AUTHLIB_INSECURE_TRANSPORT": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    ) as process:
        wait_until(lambda: listens(port), "the provider listens", process=process)
        one = Provider(f"http://127.0.0.1:{port}")
        yield one
        one.close()


def _serve(port: int) -> None:  # noqa: C901 -- one small server
    import flask  # noqa: PLC0415 -- only the process needs them
    import oidc_provider_mock  # noqa: PLC0415
    from joserfc.jwk import RSAKey, import_key  # noqa: PLC0415
    from werkzeug.serving import make_server  # noqa: PLC0415

    app = oidc_provider_mock.app(require_nonce=True)
    misbehaviour: dict[str, Any] = {}
    challenges: dict[str, str] = {}

    @app.put("/misbehaviour")
    def misbehave() -> str:
        misbehaviour.clear()
        misbehaviour.update(flask.request.json)
        return ""

    @app.post("/rotation")
    def rotate() -> str:
        storage = flask.g.oidc_provider_mock_storage
        storage.jwk = type(storage.jwk).import_key(_named(RSAKey.generate_key(2048)).as_dict(private=True))
        return ""

    @app.before_request
    def require_verifier() -> Any:
        if flask.request.path == "/oauth2/token":
            if "status" in misbehaviour:
                return flask.jsonify(misbehaviour.get("answer")), misbehaviour["status"]
            challenge = challenges.pop(flask.request.form["code"], None)
            verifier = flask.request.form.get("code_verifier", "")
            if challenge != _base64(sha256(verifier.encode()).digest()):
                return flask.jsonify(error="invalid_grant"), 400
        return None

    @app.after_request
    def follow(response: Any) -> Any:
        location = response.headers.get("Location")
        if flask.request.path == "/oauth2/authorize" and location:
            query = parse_qs(urlsplit(location).query)
            if "code" in query and flask.request.args["code_challenge_method"] == "S256":
                challenges[query["code"][0]] = flask.request.args["code_challenge"]
        if flask.request.path == "/oauth2/token" and response.status_code == 200 and misbehaviour:
            tokens = response.get_json()
            key = import_key(flask.g.oidc_provider_mock_storage.jwk.as_dict(is_private=True))
            tokens["id_token"] = _altered(tokens["id_token"], key, misbehaviour)
            response.set_data(dumps(tokens))
        return response

    make_server("127.0.0.1", port, app, threaded=True).serve_forever()


def _named(key: Any) -> Any:
    key.ensure_kid()
    return key


def _altered(text: str, key: Any, misbehaviour: dict[str, Any]) -> str:
    from joserfc import jwt  # noqa: PLC0415 -- as above
    from joserfc.jwk import RSAKey  # noqa: PLC0415

    token = jwt.decode(text, key)
    claims = {**token.claims, **misbehaviour.get("claims", {})}
    claims = {name: value for name, value in claims.items() if value is not None}
    header = token.header
    match misbehaviour.get("signed_by"):
        case "another":
            key = RSAKey.generate_key(2048)
        case "none":
            return f"{_json({'alg': 'none'})}.{_json(claims)}."
        case "secret":
            signed = f"{_json({**header, 'alg': 'HS256'})}.{_json(claims)}"
            signature = hmac.digest(CLIENT_SECRET.encode(), signed.encode(), "sha256")
            return f"{signed}.{_base64(signature)}"
    return jwt.encode(header, claims, key)


def _json(value: object) -> str:
    return _base64(dumps(value).encode())


def _base64(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
