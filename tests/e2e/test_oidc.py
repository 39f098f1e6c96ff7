"""Administrators sign in at a real OpenID Connect provider, in a browser and for a command line."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from threading import Event
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from conftest import find_free_port
from e2e.gateways import serving
from e2e.oidcprovider import CLIENT_ID, CLIENT_SECRET, provider
from e2e.processes import scopegate
from scopegate.administration import Administration
from scopegate.cli.browserlogin import SignInFailed, sign_in_with_browser
from scopegate.client import ServerUnreachable
from scopegate.core.administrators import Role, operator
from scopegate.core.pkce import challenge_of
from scopegate.store import Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from e2e.gateways import Gateway
    from e2e.oidcprovider import Provider
    from scopegate.core.administrators import Administrator

API = "/admin/v1"
SESSION = "scopegate"
REFUSED = "You cannot sign in here."
STALE = "This sign-in is over"
VERIFIER = "a-verifier-that-only-the-command-line-has-0123456789"
STATE = "a-state-of-the-command-line"


@pytest.fixture(scope="module")
def idp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    with provider(tmp_path_factory.mktemp("provider")) as one:
        yield one


@pytest.fixture(autouse=True)
def _behaving(idp: Provider) -> None:
    idp.misbehaves()


def settings(idp: Provider) -> dict[str, str]:
    return {
        "SCOPEGATE_OIDC_ISSUER": idp.url,
        "SCOPEGATE_OIDC_CLIENT_ID": CLIENT_ID,
        "SCOPEGATE_OIDC_CLIENT_SECRET": CLIENT_SECRET,
    }


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, idp: Provider) -> Iterator[Gateway]:
    with serving(tmp_path_factory.mktemp("gateway"), "http://127.0.0.1:9", env=settings(idp)) as one:
        yield one


@pytest.fixture
def browser() -> Iterator[httpx.Client]:
    with new_browser() as one:
        yield one


def new_browser() -> httpx.Client:
    return httpx.Client(follow_redirects=False, trust_env=False, timeout=30)


@asynccontextmanager
async def administration(gateway: Gateway) -> AsyncIterator[Administration]:
    store = Store.at(gateway.store_url)
    try:
        yield Administration(store, operator("test"))
    finally:
        await store.aclose()


def create(gateway: Gateway, email: str, *, active: bool = True) -> Administrator:
    async def run() -> Administrator:
        async with administration(gateway) as by:
            created = await by.create_administrator(name="Maria", email=email, role=Role.SYSTEM_ADMINISTRATOR)
            return await by.change_administrator(created.id, active=active)

    return asyncio.run(run())


def find(gateway: Gateway, administrator: Administrator) -> Administrator:
    async def run() -> Administrator:
        async with administration(gateway) as by:
            return await by.find_administrator(administrator.id)

    return asyncio.run(run())


def deeds(gateway: Gateway) -> list[tuple[str, str]]:
    """What the log of the system has, newest first: actor and action."""

    async def run() -> list[tuple[str, str]]:
        store = Store.at(gateway.store_url)
        try:
            lines = [json.loads(line) async for line in store.system.audit.backwards()]
        finally:
            await store.aclose()
        return [(line["actor"], line["action"]) for line in lines]

    return asyncio.run(run())


_numbers = iter(range(1_000))


@pytest.fixture
def known(gateway: Gateway, idp: Provider) -> Administrator:
    """An administrator whom the provider knows by the subject that is the name before the @."""
    email = f"maria{next(_numbers)}@example.com"
    idp.knows(email.partition("@")[0], email=email, email_verified=True)
    return create(gateway, email)


def subject_of(administrator: Administrator) -> str:
    return administrator.email.partition("@")[0]


def begin(browser: httpx.Client, gateway: Gateway, **query: str | int) -> str:
    """Where the browser is sent to sign in."""
    answer = browser.get(f"{gateway.admin_url}{API}/oidc/login", params=query)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def consent(browser: httpx.Client, url: str, subject: str) -> str:
    """Where the provider sends the browser once `subject` has signed in."""
    answer = browser.post(url, data={"sub": subject})
    assert answer.status_code == 302, answer.text
    return answer.headers["location"]


def sign_in(browser: httpx.Client, gateway: Gateway, subject: str, **query: str | int) -> httpx.Response:
    return browser.get(consent(browser, begin(browser, gateway, **query), subject))


def whoami(browser: httpx.Client, gateway: Gateway) -> httpx.Response:
    return browser.get(f"{gateway.admin_url}{API}/whoami")


def is_refused(answer: httpx.Response, browser: httpx.Client) -> bool:
    assert SESSION not in browser.cookies
    return answer.status_code == 403 and REFUSED in answer.text


def test_an_administrator_signs_in_and_is_bound_to_the_subject(
    gateway: Gateway, idp: Provider, known: Administrator, browser: httpx.Client
) -> None:
    answer = sign_in(browser, gateway, subject_of(known))
    assert answer.status_code == 200, answer.text
    assert known.email in answer.text
    [cookie] = [one for one in answer.headers.get_list("set-cookie") if one.startswith(f"{SESSION}=")]
    assert {"HttpOnly", "Path=/", "SameSite=strict"} <= set(cookie.split("; "))
    me = whoami(browser, gateway).json()
    assert me["administrator"]["id"] == known.id
    assert me["token"]["kind"] == "session"
    subject = find(gateway, known).subject
    assert subject is not None
    assert (subject.issuer, subject.id) == (idp.url, subject_of(known))
    assert deeds(gateway)[:2] == [(known.email, "token.create"), (known.email, "administrator.bind")]
    # The next time it is the subject that counts.
    idp.knows(subject_of(known), email="another@example.com", email_verified=False)
    with new_browser() as another:
        assert sign_in(another, gateway, subject_of(known)).status_code == 200
        assert whoami(another, gateway).json()["administrator"]["id"] == known.id
    assert deeds(gateway)[:2] == [(known.email, "token.create"), (known.email, "token.create")]


def test_the_browser_is_led_on_by_a_page_of_ours(
    gateway: Gateway, known: Administrator, browser: httpx.Client
) -> None:
    answer = sign_in(browser, gateway, subject_of(known), return_to="/console/keys?state=active&type=custom")
    assert (
        '<meta http-equiv="refresh" content="0; url=/console/keys?state=active&amp;type=custom">'
        in answer.text
    )
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "target", ["https://evil.example.com", "//evil.example.com", "/\\evil.example.com", "javascript:alert(1)"]
)
def test_it_is_led_nowhere_else(gateway: Gateway, browser: httpx.Client, target: str) -> None:
    answer = browser.get(f"{gateway.admin_url}{API}/oidc/login", params={"return_to": target})
    assert answer.status_code == 400
    assert "location" not in answer.headers


@pytest.mark.parametrize(
    "query",
    [
        {"port": "0"},
        {"port": "65536"},
        {"port": "80@evil.example.com"},
        {"port": "evil.example.com:80"},
        {"code_challenge": "plain"},
        {"code_challenge": challenge_of(VERIFIER) + "="},
        {"state": "short"},
        {"redirect_uri": "https://evil.example.com"},
        {"return_to": "/console"},
    ],
)
def test_a_command_line_is_on_the_same_machine_and_has_a_challenge(
    gateway: Gateway, browser: httpx.Client, query: dict[str, str]
) -> None:
    sound = {"port": "50000", "state": STATE, "code_challenge": challenge_of(VERIFIER)}
    assert begin(browser, gateway, **sound)
    answer = browser.get(f"{gateway.admin_url}{API}/oidc/login", params={**sound, **query})
    assert answer.status_code == 400
    assert "location" not in answer.headers


def test_the_redirect_uri_is_one_that_the_request_cannot_choose(
    gateway: Gateway, browser: httpx.Client
) -> None:
    answer = browser.get(f"{gateway.admin_url}{API}/oidc/login", headers={"Host": "evil.example.com"})
    asked = parse_qs(urlsplit(answer.headers["location"]).query)
    assert asked["redirect_uri"] == [f"{gateway.admin_url}{API}/oidc/callback"]
    assert asked["code_challenge_method"] == ["S256"]
    assert asked["scope"] == ["openid email profile"]


@pytest.mark.parametrize(
    ("claims", "active"),
    [
        pytest.param({"email": "nobody@example.com", "email_verified": True}, True, id="unknown"),
        pytest.param({"email": "EMAIL", "email_verified": False}, True, id="unverified"),
        pytest.param({"email": "EMAIL", "email_verified": "true"}, True, id="verified, but not as a Boolean"),
        pytest.param({"email": "EMAIL"}, True, id="perhaps unverified"),
        pytest.param({}, True, id="without an address"),
        pytest.param({"email": "EMAIL", "email_verified": True}, False, id="inactive"),
    ],
)
def test_nobody_else_signs_in_and_all_are_told_the_same(
    gateway: Gateway, idp: Provider, browser: httpx.Client, claims: dict[str, Any], *, active: bool
) -> None:
    email = f"maria{next(_numbers)}@example.com"
    administrator = create(gateway, email, active=active)
    idp.knows("somebody", **{name: email if value == "EMAIL" else value for name, value in claims.items()})
    before = deeds(gateway)
    answer = sign_in(browser, gateway, "somebody")
    assert is_refused(answer, browser)
    assert email not in answer.text
    assert find(gateway, administrator).subject is None
    assert deeds(gateway) == before


def test_an_administrator_who_is_deactivated_has_no_session_any_more(
    gateway: Gateway, known: Administrator, browser: httpx.Client
) -> None:
    sign_in(browser, gateway, subject_of(known))
    assert whoami(browser, gateway).status_code == 200

    async def deactivate() -> None:
        async with administration(gateway) as by:
            await by.change_administrator(known.id, active=False)

    asyncio.run(deactivate())
    assert whoami(browser, gateway).status_code == 401


def test_a_state_that_nobody_began_is_refused(
    gateway: Gateway, known: Administrator, browser: httpx.Client
) -> None:
    callback = consent(browser, begin(browser, gateway), subject_of(known))
    state = parse_qs(urlsplit(callback).query)["state"][0]
    answer = browser.get(callback.replace(state, "x" * len(state)))
    assert answer.status_code == 400
    assert STALE in answer.text
    assert SESSION not in browser.cookies


def test_a_sign_in_is_finished_once(gateway: Gateway, known: Administrator, browser: httpx.Client) -> None:
    callback = consent(browser, begin(browser, gateway), subject_of(known))
    assert browser.get(callback).status_code == 200
    again = browser.get(callback)
    assert again.status_code == 400
    assert STALE in again.text


def test_a_code_is_good_for_the_sign_in_that_it_was_issued_for_alone(
    gateway: Gateway, known: Administrator, browser: httpx.Client
) -> None:
    def code_of(callback: str) -> str:
        return parse_qs(urlsplit(callback).query)["code"][0]

    first = consent(browser, begin(browser, gateway), subject_of(known))
    second = consent(browser, begin(browser, gateway), subject_of(known))
    # Somebody else's code in my sign-in: the verifier is another.
    assert is_refused(browser.get(second.replace(code_of(second), code_of(first))), browser)


def test_a_sign_in_is_finished_in_the_browser_that_began_it(
    gateway: Gateway, known: Administrator, browser: httpx.Client
) -> None:
    callback = consent(browser, begin(browser, gateway), subject_of(known))
    with new_browser() as victim:
        answer = victim.get(callback)
        assert answer.status_code == 400
        assert SESSION not in victim.cookies


def test_what_the_provider_refuses_is_refused(gateway: Gateway, browser: httpx.Client) -> None:
    answer = browser.post(begin(browser, gateway), data={"action": "deny"})
    location = answer.headers["location"]
    assert "error=access_denied" in location
    if "state=" not in location:  # the package forgets it, RFC 6749 section 4.1.2.1 does not
        state = parse_qs(urlsplit(begin(browser, gateway)).query)["state"][0]
        location += f"&state={state}"
    assert is_refused(browser.get(location), browser)


_LONG_AGO = int(time.time()) - 3_600


@pytest.mark.parametrize(
    "how",
    [
        pytest.param({"claims": {"nonce": "another"}}, id="another nonce"),
        pytest.param({"claims": {"nonce": None}}, id="no nonce"),
        pytest.param({"claims": {"aud": "another-client"}}, id="another audience"),
        pytest.param({"claims": {"aud": "another-client", "azp": CLIENT_ID}}, id="another audience of ours"),
        pytest.param({"claims": {"aud": None}}, id="no audience"),
        pytest.param({"claims": {"aud": [CLIENT_ID, "other"], "azp": "other"}}, id="another party"),
        pytest.param({"claims": {"iss": "https://evil.example.com"}}, id="another issuer"),
        pytest.param({"claims": {"iss": None}}, id="no issuer"),
        pytest.param({"claims": {"sub": None}}, id="no subject"),
        pytest.param({"claims": {"sub": 1}}, id="a subject that is no text"),
        pytest.param({"claims": {"exp": _LONG_AGO}}, id="expired"),
        pytest.param({"claims": {"exp": None}}, id="no expiry"),
        pytest.param({"claims": {"exp": "tomorrow"}}, id="an expiry that is none"),
        pytest.param({"claims": {"nbf": _LONG_AGO + 2 * 3_600}}, id="not yet valid"),
        pytest.param({"claims": {"at_hash": "b3RoZXI"}}, id="for another access token"),
        pytest.param({"signed_by": "another"}, id="another key"),
        pytest.param({"signed_by": "none"}, id="no signature"),
        pytest.param({"signed_by": "secret"}, id="signed with the client's secret"),
    ],
)
def test_an_id_token_that_is_not_valid_for_us_signs_nobody_in(
    gateway: Gateway, idp: Provider, known: Administrator, browser: httpx.Client, how: dict[str, Any]
) -> None:
    idp.misbehaves(**how)
    assert is_refused(sign_in(browser, gateway, subject_of(known)), browser)
    assert find(gateway, known).subject is None


@pytest.mark.parametrize(
    "how",
    [
        pytest.param({"status": 401, "answer": {"error": "invalid_client"}}, id="it does not know us"),
        pytest.param({"status": 500}, id="it fails"),
        pytest.param({"status": 302}, id="it sends us elsewhere"),
        pytest.param({"status": 200, "answer": {"access_token": "x"}}, id="it has no ID token"),
        pytest.param({"status": 200, "answer": []}, id="it answers with something else"),
        pytest.param(
            {"status": 200, "answer": {"id_token": "x" * 2_000_000}}, id="it answers without an end"
        ),
    ],
)
def test_a_provider_that_does_not_answer_as_one_signs_nobody_in_and_is_told_of(
    gateway: Gateway, idp: Provider, known: Administrator, browser: httpx.Client, how: dict[str, Any]
) -> None:
    idp.misbehaves(**how)
    answer = sign_in(browser, gateway, subject_of(known))
    assert answer.status_code == 503
    assert "does not answer as it should" in answer.text
    assert SESSION not in browser.cookies
    assert "nobody can sign in: " in gateway.process.err


def test_a_key_that_is_new_to_us_is_looked_up(
    gateway: Gateway, idp: Provider, known: Administrator, browser: httpx.Client
) -> None:
    assert sign_in(browser, gateway, subject_of(known)).status_code == 200
    idp.rotates()
    with new_browser() as another:
        assert sign_in(another, gateway, subject_of(known)).status_code == 200


def test_another_control_plane_finishes_what_one_began(
    gateway: Gateway, idp: Provider, known: Administrator, browser: httpx.Client, tmp_path: Path
) -> None:
    public = {"SCOPEGATE_ADMIN_URL": gateway.admin_url}
    with serving(
        tmp_path, "http://127.0.0.1:9", redis_url=gateway.store_url, env={**settings(idp), **public}
    ) as other:
        callback = consent(browser, begin(browser, gateway), subject_of(known))
        assert browser.get(callback.replace(gateway.admin_url, other.admin_url)).status_code == 200
        assert whoami(browser, gateway).status_code == 200


# Sessions in a browser


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, 204),
        ({"Origin": "OWN"}, 204),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": "OWN"}, 403),
        ({"Origin": "https://evil.example.com"}, 403),
        ({}, 403),
    ],
)
def test_only_a_page_of_ours_changes_anything_with_the_cookie(
    gateway: Gateway, known: Administrator, browser: httpx.Client, headers: dict[str, str], status: int
) -> None:
    sign_in(browser, gateway, subject_of(known))
    sent = {name: gateway.admin_url if value == "OWN" else value for name, value in headers.items()}
    answer = browser.post(f"{gateway.admin_url}{API}/session:end", headers=sent)
    assert answer.status_code == status, answer.text
    if status == 403:
        assert answer.json()["code"] == "cross_site"
        assert whoami(browser, gateway).status_code == 200
    else:
        assert SESSION not in browser.cookies


def test_who_signs_out_has_no_session_any_more(
    gateway: Gateway, known: Administrator, browser: httpx.Client
) -> None:
    sign_in(browser, gateway, subject_of(known))
    session = browser.cookies[SESSION]
    browser.post(f"{gateway.admin_url}{API}/session:end", headers={"Sec-Fetch-Site": "same-origin"})
    with new_browser() as thief:
        assert (
            thief.get(
                f"{gateway.admin_url}{API}/whoami", headers={"Cookie": f"{SESSION}={session}"}
            ).status_code
            == 401
        )
    assert deeds(gateway)[0] == (known.email, "token.revoke")


@pytest.fixture
def token(gateway: Gateway, known: Administrator) -> str:
    async def run() -> str:
        async with administration(gateway) as by:
            issued = await by.create_token(description="of the tests", administrator_id=known.id)
            return issued.secret

    return asyncio.run(run())


def test_a_token_wins_over_the_cookie_and_needs_no_page_of_ours(
    gateway: Gateway, known: Administrator, browser: httpx.Client, token: str
) -> None:
    sign_in(browser, gateway, subject_of(known))
    url = f"{gateway.admin_url}{API}"
    mine = browser.get(f"{url}/whoami", headers={"Authorization": f"Bearer {token}"}).json()
    assert mine["token"]["kind"] == "token"
    # A token that is not valid is not made good by the cookie beside it.
    assert browser.get(f"{url}/whoami", headers={"Authorization": "Bearer adm_x"}).status_code == 401
    assert browser.get(f"{url}/whoami", headers={"Authorization": "Basic eDp5"}).status_code == 401
    kept = browser.post(f"{url}/session:end", headers={"Authorization": f"Bearer {token}"})
    assert (kept.status_code, kept.json()["code"]) == (409, "no_session")
    assert browser.get(f"{url}/whoami", headers={"Authorization": f"Bearer {token}"}).status_code == 200


def test_a_browser_signs_in_with_a_token(gateway: Gateway, browser: httpx.Client, token: str) -> None:
    url, ours = f"{gateway.admin_url}{API}/session", {"Sec-Fetch-Site": "same-origin"}
    assert browser.post(url, json={"token": token}).status_code == 403
    assert (
        browser.post(url, json={"token": token}, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    )
    assert browser.post(url, json={"token": "adm_x"}, headers=ours).status_code == 401
    opened = browser.post(url, json={"token": token}, headers=ours)
    assert opened.status_code == 201
    assert token not in opened.text
    assert browser.cookies[SESSION] not in opened.text
    lasts = datetime.fromisoformat(opened.json()["expires_at"]) - datetime.now(UTC)
    assert 0 < lasts.total_seconds() <= 8 * 3_600
    assert whoami(browser, gateway).json()["token"]["kind"] == "session"
    # A session opens no other, so that none lasts for ever.
    again = browser.post(url, json={"token": browser.cookies[SESSION]}, headers=ours)
    assert again.status_code == 401


# The command line


def redeem(gateway: Gateway, code: str, verifier: str = VERIFIER) -> httpx.Response:
    return httpx.post(
        f"{gateway.admin_url}{API}/oidc/token",
        json={"code": code, "code_verifier": verifier},
        trust_env=False,
        timeout=30,
    )


@pytest.fixture
def code_for(gateway: Gateway, browser: httpx.Client) -> Callable[[str], dict[str, str]]:
    def led(subject: str) -> dict[str, str]:
        port = find_free_port()
        query = {"port": str(port), "state": STATE, "code_challenge": challenge_of(VERIFIER)}
        answer = sign_in(browser, gateway, subject, **query)
        assert answer.status_code == 303
        led_to = urlsplit(answer.headers["location"])
        assert (led_to.scheme, led_to.netloc, led_to.path) == ("http", f"127.0.0.1:{port}", "/")
        assert SESSION not in browser.cookies
        return {name: value for name, [value] in parse_qs(led_to.query).items()}

    return led


def test_a_command_line_fetches_a_session_once(
    gateway: Gateway, known: Administrator, code_for: Callable[[str], dict[str, str]]
) -> None:
    told = code_for(subject_of(known))
    assert told.keys() == {"code", "state"}
    assert told["state"] == STATE
    issued = redeem(gateway, told["code"])
    assert issued.status_code == 200, issued.text
    headers = {"Authorization": f"Bearer {issued.json()['secret']}"}
    me = httpx.get(f"{gateway.admin_url}{API}/whoami", headers=headers, trust_env=False, timeout=30).json()
    assert me["administrator"]["id"] == known.id
    assert me["token"]["kind"] == "session"
    assert redeem(gateway, told["code"]).status_code == 401


def test_who_has_the_code_but_not_the_verifier_has_nothing(
    gateway: Gateway, known: Administrator, code_for: Callable[[str], dict[str, str]]
) -> None:
    code = code_for(subject_of(known))["code"]
    assert redeem(gateway, code, "another-verifier-that-is-as-long-as-it-has-to-be").status_code == 401
    assert redeem(gateway, code).status_code == 401


def test_a_command_line_is_told_of_a_refusal(
    idp: Provider, code_for: Callable[[str], dict[str, str]]
) -> None:
    idp.knows("stranger", email="stranger@example.com", email_verified=True)
    assert code_for("stranger") == {"error": "sign_in_refused", "state": STATE}


def test_the_command_line_signs_in_with_a_browser(
    gateway: Gateway, known: Administrator, browser: httpx.Client
) -> None:
    def person(url: str) -> None:
        login = browser.get(url)
        finished = browser.get(consent(browser, login.headers["location"], subject_of(known)))
        back = finished.headers["location"]
        own = parse_qs(urlsplit(back).query)["state"][0]
        # What others on the machine say in between is not believed.
        said = (f"code=theirs&state={'x' * len(own)}", "code=theirs", f"code=a&state={own}&state={own}")
        refused.extend(browser.get(f"{back.partition('?')[0]}?{one}").status_code for one in said)
        pages.append(browser.get(back).text)
        over.set()

    refused: list[int] = []
    pages: list[str] = []
    over = Event()
    session = sign_in_with_browser(gateway.admin_url, show=person, wait=30)
    assert over.wait(30)
    assert refused == [404, 404, 404]
    assert "Go back to the command line" in pages[0]
    headers = {"Authorization": f"Bearer {session}"}
    me = httpx.get(f"{gateway.admin_url}{API}/whoami", headers=headers, trust_env=False, timeout=30).json()
    assert me["administrator"]["id"] == known.id


_BROWSER = """
import sys, httpx
with httpx.Client(trust_env=False, timeout=30) as browser:
    login = browser.get(sys.argv[2])
    consent = browser.post(login.headers["location"], data={"sub": sys.argv[1]})
    back = browser.get(consent.headers["location"]).headers["location"]
    browser.get(back).raise_for_status()
"""


def browser_of(directory: Path, subject: str) -> dict[str, str]:
    """An environment with a browser in which somebody is signed in at the provider."""
    script = directory / "browser.py"
    script.write_text(_BROWSER)
    return {
        "BROWSER": f"{sys.executable} {script} {subject} %s",
        "XDG_CONFIG_HOME": str(directory),
    }


def test_login_keeps_a_session_that_logout_ends(
    gateway: Gateway, known: Administrator, tmp_path: Path
) -> None:
    env = browser_of(tmp_path, subject_of(known))
    login = scopegate("login", "--server", gateway.admin_url, "--oidc", "-o", "json", env=env)
    assert login.code == 0, login
    shown = json.loads(login.out)
    assert (shown["administrator"]["id"], shown["token"]["kind"]) == (known.id, "session")
    assert f"{gateway.admin_url}{API}/oidc/login?" in login.err
    assert scopegate("whoami", env=env).code == 0
    assert scopegate("logout", env=env).code == 0
    assert deeds(gateway)[0] == (known.email, "token.revoke")


def test_login_tells_of_a_refusal(gateway: Gateway, idp: Provider, tmp_path: Path) -> None:
    idp.knows("stranger", email="stranger@example.com", email_verified=True)
    login = scopegate("login", "--server", gateway.admin_url, "--oidc", env=browser_of(tmp_path, "stranger"))
    assert login.code == 4
    assert "sign_in_refused" in login.err
    assert not list(tmp_path.glob("scopegate/*"))


def test_the_command_line_does_not_wait_for_ever(gateway: Gateway) -> None:
    with pytest.raises(SignInFailed, match="in time"):
        sign_in_with_browser(gateway.admin_url, show=print, wait=0.01)


def test_the_command_line_tells_that_nobody_answers() -> None:
    with pytest.raises(ServerUnreachable):
        sign_in_with_browser(f"http://127.0.0.1:{find_free_port()}", show=print)


# Providers that are not there


def test_a_provider_that_is_not_there_is_told_as_that_and_tokens_work(
    tmp_path: Path, browser: httpx.Client
) -> None:
    nowhere = {
        "SCOPEGATE_OIDC_ISSUER": f"http://127.0.0.1:{find_free_port()}",
        "SCOPEGATE_OIDC_CLIENT_ID": CLIENT_ID,
    }
    with serving(tmp_path, "http://127.0.0.1:9", env=nowhere) as gateway:
        answer = browser.get(f"{gateway.admin_url}{API}/oidc/login")
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        assert "does not answer" in answer.text
        assert gateway.ask("/readyz").status_code == 200


def test_a_provider_in_another_name_is_none(tmp_path: Path, idp: Provider, browser: httpx.Client) -> None:
    other = {**settings(idp), "SCOPEGATE_OIDC_ISSUER": idp.url.replace("127.0.0.1", "localhost") + "/"}
    with serving(tmp_path, "http://127.0.0.1:9", env=other) as gateway:
        assert browser.get(f"{gateway.admin_url}{API}/oidc/login").status_code == 503
        assert "oidc_issuer is" in gateway.process.err


def test_without_a_provider_that_is_said(tmp_path: Path, browser: httpx.Client) -> None:
    with serving(tmp_path, "http://127.0.0.1:9") as gateway:
        assert browser.get(f"{gateway.admin_url}{API}/oidc").json() == {"configured": False}
        answer = browser.get(f"{gateway.admin_url}{API}/oidc/login")
        assert (answer.status_code, answer.json()["code"]) == (404, "oidc_not_configured")
        with pytest.raises(SignInFailed, match="no OpenID Connect provider"):
            sign_in_with_browser(gateway.admin_url, show=print)
