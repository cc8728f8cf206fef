"""A page is one folder and one line of registration: one added here is found in the built app."""

import json
import re
from types import SimpleNamespace
from urllib.request import urlopen

import gradio as gr
import pytest
from fake_client import FakeClient

from t2ui import ui
from t2ui.ui import theme
from t2ui.ui.shared.card import card
from t2ui.ui.shared.events import QUICK
from t2ui.ui.shared.mixture import moved, weights
from t2ui.ui.shared.page import Page
from t2ui.ui.shared.panel import pack, panel, unpack


def poems_page(shared, tab):
    """A card, a panel that the page's own script draws, and a button that moves the sliders."""
    with card("Poems", "What the page is about."):
        panel("poem", {"text": "a poem"}, "poem")
        button = gr.Button("Only code", elem_id="poems-button")

    def only_code(mixer):
        return pack(moved(unpack(mixer), {"code": 1.0}, "poems"))

    button.click(only_code, shared.mixer, shared.mixer, **QUICK)


@pytest.fixture(params=["first", "last"])
def page(request, tmp_path, monkeypatch):
    """The page, registered before or after all others."""
    (tmp_path / "poems.js").write_text("t2ui.panels.poem = (host) => (value) => {};")
    (tmp_path / "poems.css").write_text("#poem { color: var(--t2-base); }")
    added = Page("poems", "Poems", poems_page, tmp_path)
    pages = (added, *ui.PAGES) if request.param == "first" else (*ui.PAGES, added)
    monkeypatch.setattr(ui, "PAGES", pages)
    return added


def props(demo, kind):
    return [c["props"] for c in demo.config["components"] if c["type"] == kind]


def test_its_tab_its_script_and_its_style_are_there(page):
    demo = ui.build(FakeClient())
    tabs = [(one["id"], one["label"]) for one in props(demo, "tabitem")]
    assert tabs == [(one.id, one.title) for one in ui.PAGES] and ("poems", "Poems") in tabs
    (poem,) = (one for one in props(demo, "html") if one.get("elem_id") == "poem")
    scripts = re.findall(r'src="gradio_api/file=([^"]+)"', poem["head"])
    assert scripts[0].endswith("shared/core.js") and scripts.count(str(page.scripts[0])) == 1
    behind = -1 if ui.PAGES[-1] is page else len(theme.STYLES)  # those of all pages come first
    assert ui.launch_options()["css_paths"][behind] == page.styles[0]


def test_every_panel_loads_the_script_that_draws_it(page):
    demo = ui.build(FakeClient())
    for one in (one for one in props(demo, "html") if "t2-panel" in one.get("elem_classes", [])):
        kind = re.search(r't2ui\.mount\("([^"]+)"', one["js_on_load"])[1]
        paths = re.findall(r'src="gradio_api/file=([^"]+)"', one["head"])
        scripts = "".join(open(path, encoding="utf-8").read() for path in paths)
        assert re.search(rf'panels(\.{kind}\b|\["{kind}"\])', scripts), kind


def test_it_moves_the_sliders(page):
    demo = ui.build(FakeClient())
    (fn,) = (fn for fn in demo.fns.values() if getattr(fn.fn, "__name__", "") == "only_code")
    assert [block.elem_id for block in fn.outputs] == ["mixer"]
    state = {"experts": [{"name": "code"}, {"name": "math"}], "alpha": {"math": 1.0}}
    assert weights(unpack(fn.fn(pack(state)))) == {"code": 1.0}


def test_its_files_are_served(page):
    demo = ui.build(FakeClient())
    _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True, **ui.launch_options())
    try:
        with urlopen(f"{url}gradio_api/file={page.scripts[0]}") as answered:
            assert answered.read() == page.scripts[0].read_bytes()
        with urlopen(url) as answered:
            assert "#poem { color: var(--t2-base); }" in answered.read().decode()
    finally:
        demo.close()


def test_a_link_may_name_it(page):
    """The header's script knows every page; tests/browser opens one by its link."""
    demo = ui.build(FakeClient())
    (header,) = (one for one in props(demo, "html") if one.get("elem_id") == "header")
    named = re.search(r'data-pages="([^"]+)"', header["html_template"])[1].replace("&quot;", '"')
    assert json.loads(named) == {one.id: one.title for one in ui.PAGES}


def test_a_page_without_files_has_neither_scripts_nor_styles(tmp_path):
    bare = Page("bare", "Bare", poems_page, tmp_path / "nowhere")
    assert bare.scripts == [] and bare.styles == []


def test_a_link_fills_the_page_when_it_is_opened():
    demo = ui.build(FakeClient())
    (load,) = (fn for fn in demo.fns.values() if getattr(fn.fn, "__name__", "") == "from_link")
    ids = [block.elem_id for block in load.outputs]
    query = {"prompt": "Hi", "dispatch": "none", "normalise": "1", "seed": "7", "routing": "soft"}
    values = dict(zip(ids, load.fn(SimpleNamespace(query_params=query)), strict=True))
    asked = {key: value for key, value in values.items() if not isinstance(value, dict)}
    wanted = {"prompt": "Hi", "dispatch-mode": "none", "routing": "soft", "normalise": True}
    assert asked == {**wanted, "seed": 7}  # and nothing else is touched
