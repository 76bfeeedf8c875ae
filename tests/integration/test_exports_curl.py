"""The lines of docs/exports.md, typed into a shell against the real web process."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from django.conf import settings

from accounts.actors import system_actor
from exports.models import Export
from tests.exports import make_people, work
from tests.factories import make_account
from tests.programs import needs
from tests.rows import make_token
from tests.web import web

pytestmark = pytest.mark.django_db(transaction=True)


def block() -> tuple[str, list[str]]:
    """The page's lines of shell: what comes first, and each command after it."""
    text = (Path(settings.BASE_DIR) / "docs" / "exports.md").read_text()
    found = re.search(r"```sh\n(.*?)```", text, re.DOTALL)
    assert found
    before, _blank, commands = found[1].partition("\n\n")
    return before, re.split(r"\n+(?=ask |curl )", commands.strip())


def test_the_lines_of_the_page_work(tmp_path: Path) -> None:
    needs("curl")
    account = make_account()
    by = system_actor(account)
    make_people(by, 5)
    before, commands = block()
    ids: dict[str, int] = {}
    with web() as server:

        def type_in(command: str) -> str:
            text = f"{before}\n{command}".replace("http://127.0.0.1:8000", server.url)
            for said, real in ids.items():
                text = text.replace(said, f"{said.rpartition('/')[0]}/{real}")
            environment = {**os.environ, "BATCHDESK_KEY": make_token(account)}
            return subprocess.run(
                ["bash", "-ec", text], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True, check=True
            ).stdout

        create, run, look, download, create_feed, schedule = commands
        ids["exports/7"] = json.loads(type_in(create))["id"]
        ids["export-runs/12"] = json.loads(type_in(run))["id"]
        assert json.loads(type_in(look))["status"] == "in_progress"
        work()
        made = json.loads(type_in(look))
        assert (made["status"], made["rows"]) == ("succeeded", 4)
        (tmp_path / "people.csv.gz").write_bytes(b"")
        type_in(download)
        whole = (tmp_path / "people.csv.gz").read_bytes()
        assert len(gzip.decompress(whole).splitlines()) == 5
        (tmp_path / "people.csv.gz").write_bytes(whole[:30])
        type_in(download)
        assert (tmp_path / "people.csv.gz").read_bytes() == whole
        ids["exports/8"] = json.loads(type_in(create_feed))["id"]
        assert json.loads(type_in(schedule))["status"] == "scheduled"
    assert Export.objects.for_account(account).filter(state="scheduled").count() == 1
