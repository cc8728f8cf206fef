"""The Ask page: prompt, pass one, mixture, next token, and both answers. Layout and wiring only."""

import asyncio
import html
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from t2ui.catalogue import DISPATCHERS, NO_DISPATCH
from t2ui.errors import InputError
from t2ui.ui.ask.example import example
from t2ui.ui.ask.link import fill_from_link
from t2ui.ui.ask.live import live_switch, wire_live
from t2ui.ui.ask.next_token import next_token_card
from t2ui.ui.ask.settings import Settings, settings_popover
from t2ui.ui.ask.snippets import snippets
from t2ui.ui.shared.card import card
from t2ui.ui.shared.components import Shared
from t2ui.ui.shared.controls import clean_controls
from t2ui.ui.shared.events import ANSWERS, PAGE, QUICK, sent
from t2ui.ui.shared.listen import YIELD_SECONDS, Client, follow, listed
from t2ui.ui.shared.mixture import corrected, experts_of
from t2ui.ui.shared.panel import once_loaded, pack, panel, unpack
from t2ui.ui.shared.permalink import filled, to_query
from t2ui.ui.shared.starters import next_of, starters
from t2ui.ui.shared.views import AskView, no_answer, no_classification
from t2ui.ui.shared.visitor import of

ABOUT = "Each expert turns one model’s singular values up or down."
NO_FOOTER = {"receipt": None, "code": None, "link": None, "link_note": ""}
# Text that was on its way to the browser may arrive after it: assets/shared/answer.js knows which
# question was stopped.
LET_GO_JS = """(text) => t2ui.edit(text, (pane) => {
    if (!['waiting', 'streaming'].includes(pane.state)) return pane;
    if (pane.question) t2ui.page.stopped = pane.question;
    return {...pane, state: 'stopped', message: 'Stopped before it was done.'};
})"""
STOPPED_JS = f"(...panes) => panes.map({LET_GO_JS})"


@dataclass(frozen=True)
class AskPage:
    """The page's components that others read or wire."""

    prompt: gr.Textbox
    dispatch: gr.Radio
    mixer: gr.HTML
    classification: gr.HTML
    base: gr.HTML
    adapted: gr.HTML
    footer: gr.HTML
    live: gr.HTML
    settings: Settings
    buttons: dict[str, gr.Button]

    @property
    def controls(self) -> list[Component]:
        """The inputs of `clean_controls`, in order."""
        return [self.prompt, self.dispatch, self.mixer, *self.settings.for_controls]


def ask_page(shared: Shared, tab: gr.Tab) -> None:
    """Build the page inside its tab."""
    client = shared.client
    with gr.Row(elem_id="ask-bar", elem_classes="t2-card"):
        shared.prompt.render()
        with gr.Column(elem_id="ask-actions", min_width=0):
            with gr.Row(elem_id="ask-buttons"):
                ask = gr.Button("Ask ▸", variant="primary", elem_id="ask", min_width=0)
                stop = gr.Button("Stop", elem_id="stop", min_width=0)
                gr.Button("Settings", elem_id="settings-open", min_width=0)
            shared.dispatch.render()
    settings = settings_popover(shared)
    with gr.Row(elem_id="starters"):
        for label, texts in starters(shared.workshop):
            starter = gr.Button(label, size="sm", min_width=0, elem_classes="starter")
            starter.click(None, None, shared.prompt, js=next_of(label, texts))
        gr.HTML(
            f'<p>{ABOUT} <a href="?learn=5">How it works</a></p>',
            elem_id="about",
            apply_default_css=False,
        )
    with gr.Row(elem_id="cards"):
        about = "The model reads the prompt once and says which kind it is."
        with card("Pass one", about, elem_id="card-pass-one", learn=6):
            classification = panel("classification", no_classification(""), "classification")
        about = "z′ = 1 + Σ α (z − 1): how much of each expert is in."
        with card("Mixture", about, "set-by", elem_id="card-mixture", learn=5):
            live = live_switch(client)
            shared.mixer.render()
        about = "The likeliest next tokens after the prompt. Follows the sliders."
        with card("Next token", about, elem_id="card-next-token"):
            next_token = next_token_card(client)
    with gr.Row(elem_id="answers"):
        hint = "The model as it is, z = 1."
        with card("Base", hint, "answered-base", elem_id="card-base", learn=2):
            base = _pane("base", follows="prompt")
        hint = "The same model with the mixture applied."
        with card("Adapted", hint, "answered-adapted", elem_id="card-adapted", learn=5):
            adapted = _pane("adapted", follows="prompt mixture")
    footer = panel("footer", NO_FOOTER, "footer")
    page = AskPage(
        shared.prompt,
        shared.dispatch,
        shared.mixer,
        classification,
        base,
        adapted,
        footer,
        live,
        settings,
        {"ask": ask, "stop": stop},
    )
    _wire_ask(client, page)
    _wire_sliders(page)
    _wire_footer(client, page)
    fill_from_link(shared, settings)
    _wire_example(shared, page, next_token)


def _pane(name: str, follows: str) -> gr.HTML:
    """One answer; its text is marked as old where what it `follows` is not what answered."""
    return panel("answer", no_answer(name), f"answer-{name}", {"pane": name, "follows": follows})


def _wire_ask(client: Client, page: AskPage) -> None:
    panels = {
        "classification": page.classification,
        "mixer": page.mixer,
        "base": page.base,
        "adapted": page.adapted,
    }

    def shown(view: AskView) -> dict[Component, str]:
        """All but the sliders: somebody may be moving them."""
        now = view.values()
        return {panels[name]: pack(now[name]) for name in now if name != "mixer"}

    async def run(request: gr.Request, *values: Any) -> AsyncIterator[dict]:
        prompt, dispatch, mixer, *settings = values
        mixer, mine = unpack(mixer), of(client, request)
        controls = clean_controls(prompt, dispatch, mixer, *settings)
        try:
            controls.request()
        except InputError as error:
            gr.Warning(html.escape(str(error)), title="Nothing was asked")
            yield gr.skip()
            return
        view = AskView(controls, mixer, client.status())
        yield {**shown(view), page.footer: pack(NO_FOOTER)}  # the receipt was of the last answer
        if mixer.get("experts") is None:  # asked while the model loads: first what there is to mix
            while (found := listed(mine)) is None:
                await asyncio.sleep(YIELD_SECONDS)
                yield gr.skip()  # only a yield notices that the tab was closed
            mixer = filled(mixer, found, dict(request.query_params))
            controls = clean_controls(prompt, dispatch, mixer, *settings)
            view = AskView(controls, mixer, client.status())  # the model is there now
            yield shown(view)
        job = mine.submit(controls.request())
        view.job = job.id
        async with aclosing(follow(job)) as batches:
            async for batch in batches:
                changed = {name for event in batch for name in view.apply(event)}
                now = view.values()
                update = {panels[name]: pack(now[name]) for name in sorted(changed)}
                if view.receipt:
                    update[page.footer] = pack({**NO_FOOTER, "receipt": view.receipt})
                yield update or gr.skip()

    asked = gr.on(
        [page.buttons["ask"].click, page.prompt.submit],
        run,
        page.controls,
        [*panels.values(), page.footer],
        **ANSWERS,
    )
    asked.then(None, None, None, js=once_loaded("answerEnded"), **PAGE)  # after Stop too
    panes = [page.classification, page.base, page.adapted]
    moves = page.adapted, page.footer
    again = wire_live(client, page.live, page.controls, moves, NO_FOOTER, LET_GO_JS)
    stop = page.buttons["stop"]
    stop.click(None, panes, panes, js=STOPPED_JS, cancels=[asked, again], **PAGE)


def _wire_example(shared: Shared, page: AskPage, next_token: gr.HTML) -> None:
    """A first visit, by a link that asks for nothing, begins with the recorded answer."""
    # a workshop's first visit begins with its own questions
    recorded = {} if shared.workshop else example(shared.client.status().model)
    found = panel("example", recorded, "example")
    shown = [page.prompt, page.mixer, page.classification, next_token, page.base, page.adapted]
    shown.append(page.footer)
    shared.demo.load(None, None, None, js=once_loaded("firstVisit"), **QUICK)
    fill = "(...values) => t2ui.withExample(...values)"
    found.select(None, [found, *shown], shown, js=fill, **PAGE)


def _wire_sliders(page: AskPage) -> None:
    """The rules that keep the sliders and the dispatcher's switch in agreement."""
    # a hand on a slider: the dispatcher is off (assets/shared/mixer.js says so)
    page.mixer.input(None, None, page.dispatch, js=f"() => {json.dumps(NO_DISPATCH)}")
    for name in ("normalise", "allow_transfer"):
        box = getattr(page.settings, name)
        edit = f"(on, text) => t2ui.edit(text, (mixer) => ({{...mixer, {name}: on}}))"
        box.input(None, [box, page.mixer], page.mixer, js=edit)
    page.prompt.change(None, page.prompt, None, js=once_loaded("setPrompt"))

    def switch(mode: str | None, mixer: str, shown: str) -> tuple[str, str]:
        state = unpack(mixer)
        kept = unpack(shown).get("state") == "done"
        noted = pack({**state, "note": dispatch_note(mode or "", state)})
        return noted, gr.skip() if kept else pack(no_classification(mode or ""))

    page.dispatch.input(
        switch,
        [page.dispatch, page.mixer, page.classification],
        [page.mixer, page.classification],
        **QUICK,
    )

    # whoever moved it: a hand, a link, Adapt. In the browser, so that no answer of the server comes
    # after a result that has been put there meanwhile; undefined writes nothing.
    off, on = (json.dumps(pack(no_classification(mode))) for mode in (NO_DISPATCH, ""))
    idle = f"""(mode, shown) => ['empty', 'off'].includes(JSON.parse(shown).state)
        ? (mode === {json.dumps(NO_DISPATCH)} ? {off} : {on}) : undefined"""
    shown = page.classification
    page.dispatch.change(None, [page.dispatch, shown], shown, js=idle, **PAGE)

    def correct(mixer: str, shown: str, event: gr.EventData) -> tuple[str, str, str]:
        label, now = str(sent(event).get("label")), unpack(shown)
        if label not in [row["label"] for row in now.get("rows", [])]:
            return gr.skip(), gr.skip(), gr.skip()
        fixed = corrected(unpack(mixer), label)
        return pack(fixed), NO_DISPATCH, pack({**now, "chosen": label})

    page.classification.select(
        correct,
        [page.mixer, page.classification],
        [page.mixer, page.dispatch, page.classification],
        **QUICK,
    )


def dispatch_note(mode: str, mixer: dict) -> str:
    """What choosing a dispatcher means for the sliders."""
    usable = [str(name) for name in mixer.get("dispatchers") or []]
    if mode not in DISPATCHERS or mode == NO_DISPATCH:
        return ""
    if usable and mode not in usable:
        words, others = DISPATCHERS[mode].words, " or ".join(usable)
        return f"An expert that the {words} needs is not here: choose {others}."
    return f"The {DISPATCHERS[mode].words} sets the sliders at the next Ask."


def _wire_footer(client: Client, page: AskPage) -> None:
    def show(footer: str, request: gr.Request, *values: Any) -> str:
        prompt, dispatch, mixer, *settings = values
        mixer = unpack(mixer)
        controls = clean_controls(prompt, dispatch, mixer, *settings)
        link, note = to_query(controls)
        url = f"{request.headers.get('x-forwarded-proto', 'http')}://{request.headers['host']}"
        model = client.status().model
        files = {
            expert["name"]: f"experts/{model}/{expert['file']}" for expert in experts_of(mixer)
        }
        code = snippets(controls, model, files, url)
        asked = {"code": code, "link": link, "link_note": note}
        # each press is answered, also where the answer is the same as the one before
        return pack({**unpack(footer), **asked, "stamp": uuid.uuid4().hex})

    page.footer.select(show, [page.footer, *page.controls], page.footer, **QUICK)
