"""The page of a server with keys: a browser asks for a password, which is the key."""

import json

import browsing
import pytest
from browsing import ask, returning, wait_state
from door import opened
from fake_client import FakeClient

from t2ui.http.limits import Limits
from t2ui.http.service import Service
from t2ui.http.tenants import Tenants

pytestmark = pytest.mark.browser
browser = browsing.browser  # the fixture


def test_a_key_opens_the_page_and_what_it_asks_is_its_tenants(browser, cli, tmp_path):
    file = tmp_path / "keys.json"
    key = json.loads(cli("keys", "add", file, "ada", "--json")[1])["key"]
    client, tenants = FakeClient(pace=0.1), Tenants(file)
    with opened(service=Service(client, Limits(), tenants)) as (_, url, _):
        context = browser.new_context(http_credentials={"username": "ada", "password": key})
        page, bad = returning(context).new_page(), []
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: bad.append(str(error)))
        page.goto(url)
        page.wait_for_selector("#mix-math", state="attached")
        ask(page)
        wait_state(page, "done")
        context.close()
        assert not bad
    assert {request.session.partition("/")[0] for request in client.requests} == {"@ada"}
    (line,) = (tenants.folders / "ada" / "audit.jsonl").read_text().splitlines()
    assert json.loads(line)["ended"] == "done"
