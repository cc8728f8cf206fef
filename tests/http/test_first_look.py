"""The page leaves the door with its first look in it, whole."""

import httpx
import pytest
from door import opened

from t2ui.config import DEFAULT_MODEL
from t2ui.ui import first_look
from t2ui.ui.ask.example import recorded


@pytest.fixture(scope="module")
def url():
    with opened() as (_, url, _):
        yield url


@pytest.mark.parametrize("encoding", ["identity", "br", "gzip"])
def test_the_page_has_it_once_and_before_the_app(url, encoding):
    page = httpx.get(url, headers={"accept-encoding": encoding})
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    assert page.text.count('<div id="first-look">') == 1
    assert page.text.index('<div id="first-look">') < page.text.index("<gradio-app")
    assert page.text.rstrip().endswith("</html>")


def test_its_length_is_said_right(url):
    got = httpx.get(url, headers={"accept-encoding": "identity"})
    assert int(got.headers["content-length"]) == len(got.content)
    assert httpx.head(url).status_code == 200


def test_nothing_else_has_it(url):
    config = httpx.get(f"{url}/config")
    assert config.json()["title"] == "t2ui" and "first-look" not in config.text


def test_it_says_what_was_recorded():
    said = recorded()
    text = first_look(DEFAULT_MODEL)
    assert said["prompt"] in text and "$" not in text
    assert 'class="example' not in first_look("tiny"), "it was recorded with another model"
    assert 'class="example' not in first_look(DEFAULT_MODEL, workshop=True)
