"""Policy files and a running gateway: requests see what is applied, and files alone rebuild a tenant."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from e2e.administrators import bootstrapped
from e2e.gateways import POLICIES, serving, upstream_server
from e2e.processes import scopegate
from scopegate import demo
from scopegate.commands import Commands
from scopegate.core.keys import KeyType
from scopegate.core.reasons import Reason
from scopegate.core.request import METHODS
from scopegate.demo import scenario
from scopegate.policyfiles import load
from scopegate.store import Store
from scopegate.store.embedded import EmbeddedStore

PEOPLE = Path(demo.__file__).parent / scenario.USERS_FILE
RECORDING = "/api/recordings/1"
Verdicts = dict[tuple[str, str, str], tuple[Reason, tuple[str, ...]]]


def test_the_next_request_sees_what_was_applied(short_dir: Path, tmp_path: Path) -> None:
    without = shutil.copytree(POLICIES, tmp_path / "policies")
    roles = (without / "roles.yaml").read_text()
    assert roles.count("privileges: [recordings.view]\n") == 1
    (without / "roles.yaml").write_text(roles.replace("privileges: [recordings.view]\n", "privileges: []\n"))
    (without / "expectations.yaml").unlink()
    with upstream_server() as upstream, serving(short_dir / "seen", upstream.url) as gateway:
        gateway.fill()
        env = {"SCOPEGATE_SERVER": gateway.admin_url, "SCOPEGATE_TOKEN": bootstrapped(gateway)}
        key = gateway.create_key("--user", "tom")["secret"]
        assert gateway.get(RECORDING, key).status_code == 200
        for directory, status in ((without, 403), (POLICIES, 200), (without, 403)):
            applied = scopegate("apply", directory, "--yes", env=env)
            assert (applied.code, applied.err) == (0, "1 change applied.\n")
            answer = gateway.get(RECORDING, key)
            assert answer.status_code == status
            if status == 403:
                assert answer.json()["code"] == "privilege_missing"


def test_files_alone_rebuild_the_tenant_of_the_demo(short_dir: Path, tmp_path: Path) -> None:
    people = shutil.copy(PEOPLE, tmp_path)  # beside it is kept how far the import has come
    with EmbeddedStore(short_dir / "demo") as embedded:
        of_demo = asyncio.run(verdicts_of_demo(embedded.url, short_dir / "demo"))
    with EmbeddedStore(short_dir / "rebuilt") as embedded:
        for command in (("apply", POLICIES), ("user", "import", people)):
            done = scopegate(*command, "--data-dir", short_dir / "rebuilt")
            assert done.code == 0, done
        rebuilt = asyncio.run(verdicts_of_rebuilt(embedded.url))
    assert rebuilt == of_demo
    assert {reason for reason, _ in of_demo.values()} == {
        Reason.ALLOWED,
        Reason.PRIVILEGE_MISSING,
        Reason.ENDPOINT_UNLISTED,
    }


async def verdicts_of_demo(url: str, data_dir: Path) -> Verdicts:
    store = Store.at(url)
    try:
        commands = Commands(store)
        await scenario.set_up(commands, load(POLICIES).policies, data_dir)
        return await verdicts(commands)
    finally:
        await store.aclose()


async def verdicts_of_rebuilt(url: str) -> Verdicts:
    store = Store.at(url)
    try:
        return await verdicts(Commands(store))
    finally:
        await store.aclose()


async def verdicts(commands: Commands) -> Verdicts:
    """What each person may do at each endpoint of the catalogue, and beside it, and why not."""
    urls = {endpoint.url.replace("*", "1") for endpoint in (await commands.show_policies()).endpoints}
    found: Verdicts = {}
    for user in await commands.list_users():
        key = await commands.create_key(key_type=KeyType.EXTERNAL, description="Asks", user=user.id)
        for url in {*urls, "/api/unlisted"}:
            for method in METHODS:
                decision = (await commands.explain(key.record.id, method, url)).decision
                found[user.id, method, url] = decision.reason, decision.missing
    return found
