"""The README's lines, typed by hand, give exactly the answers that it states."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from conftest import find_free_port, require_program
from e2e.processes import SCOPEGATE, environment, running, wait_until

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_the_lines_of_the_readme_get_the_answers_that_it_states() -> None:
    require_program("curl")
    (block,) = (block for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) if "keys.env" in block)
    stated = [int(status) for status in re.findall(r"^curl .*# ([0-9]{3})", block, re.MULTILINE)]
    assert len(stated) >= 6
    ports = [find_free_port() for _ in range(3)]
    addresses = [f"127.0.0.1:{port}" for port in ports]
    with tempfile.TemporaryDirectory(prefix="sg-") as path:
        directory = Path(path)
        command = (
            *(*SCOPEGATE, "demo", "--data-dir", str(directory / ".scopegate-demo")),
            *("--listen", addresses[0], "--admin-listen", addresses[1], "--upstream-listen", addresses[2]),
        )
        with running(*command, directory=directory / "output") as demo:
            wait_until(lambda: "The gateway is running." in demo.err, "the demo starts", process=demo)
            script = block.replace("127.0.0.1:8080", addresses[0]).replace(
                ".venv/bin/scopegate", f"{sys.executable} -m scopegate"
            )
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", script],
                cwd=directory,
                env=environment(),
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            assert demo.interrupt() == 0
    assert [int(status) for status in re.findall(r"^HTTP/1.1 ([0-9]+)", done.stdout, re.MULTILINE)] == stated
