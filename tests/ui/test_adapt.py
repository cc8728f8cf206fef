"""ui: what the Adapt page asks for, and its parts. No browser."""

import asyncio

import pytest
from fake_client import FakeClient

from t2ui.catalogue import SEARCH_METHODS
from t2ui.config import BEST_METHODS, FewShotConfig
from t2ui.errors import InputError
from t2ui.messages import (
    Adapt,
    EstimateAdapt,
)
from t2ui.ui.adapt.page import request_of
from t2ui.ui.adapt.search_view import methods_hint
from t2ui.ui.shared.examples import (
    MAX_CHARS,
    MAX_ROWS,
)
from t2ui.ui.shared.panel import pack

PAIRS = tuple((f"How many are {n} and {n}?", str(2 * n)) for n in range(1, 7))

# --- what is asked for ---------------------------------------------------------------------------


def table(*rows):
    return pack({"rows": [list(row) for row in rows]})


def test_the_request_is_what_the_page_holds():
    request = request_of(table(("", ""), ("a", "1")), "random", "both", "fast")
    preset = FewShotConfig.preset("fast")
    assert request.examples == (("a", "1"),)
    assert (request.config.method, request.config.objective) == ("random", "both")
    assert request.config.population == preset.population
    assert request_of(table(("a", "1")), "cem", "likelihood", "no such").config.generations


@pytest.mark.parametrize(
    ("method", "objective", "budget", "found_by"),
    [
        ("auto", "likelihood", "light", BEST_METHODS["likelihood"]),
        ("auto", "reward", "light", BEST_METHODS["reward"]),
        ("auto", "likelihood", "paper", "cem"),
        ("random", "likelihood", "paper", "random"),
    ],
)
def test_the_best_method_for_the_score_and_the_papers_own(method, objective, budget, found_by):
    config = request_of(table(("a", "1")), method, objective, budget).config
    assert config.found_by == found_by


def test_blank_rows_do_not_count():
    rows = [("", "")] * MAX_ROWS + [("a" * MAX_CHARS, "1")]
    assert len(request_of(table(*rows), "cem", "likelihood", "light").examples) == 1


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ((table(), "cem", "likelihood", "light"), "no examples"),
        ((table(("", ""), ("a", "")), "cem", "likelihood", "light"), "Row 2 has no right answer"),
        (
            (
                table(
                    ("", "b"),
                ),
                "cem",
                "likelihood",
                "light",
            ),
            "Row 1 has no prompt",
        ),
        (
            (
                table(
                    ("a", "b"),
                ),
                "magic",
                "likelihood",
                "light",
            ),
            "magic",
        ),
        (
            (
                table(
                    ("a", "b"),
                ),
                "gradient",
                "reward",
                "light",
            ),
            "likelihood",
        ),
        (("nonsense", "cem", "both", None), "no examples"),
        (
            (table(("a", "b"), ("x" * 5000, "b")), "cem", "likelihood", "light"),
            "Row 2: the prompt has 5,000 characters; at most 4,000 fit",
        ),
        (
            (table(("", ""), ("a", "x" * 4001)), "cem", "likelihood", "light"),
            "Row 2: the answer has 4,001",
        ),
        (
            (table(*((str(n), "b") for n in range(MAX_ROWS + 3))), "cem", "likelihood", "light"),
            f"{MAX_ROWS + 3} examples; at most {MAX_ROWS} are searched on: remove 3",
        ),
    ],
)
def test_what_cannot_be_searched_is_refused_with_the_row(asked, words):
    with pytest.raises(InputError, match=words):
        request_of(*asked)


# --- the page ------------------------------------------------------------------------------------


def test_the_hint_says_what_every_method_does_and_which_is_best_for_what():
    hint = methods_hint()
    assert hint.startswith("Best: gradient for likelihood, CEM for right answers, CEM for both. ")
    for method in SEARCH_METHODS.values():
        assert f"{method.words}: {method.hint}" in hint


def test_the_page_has_the_ids_that_checks_rely_on():
    from t2ui.ui import build

    ids = {block.elem_id for block in build(FakeClient()).blocks.values()}
    assert {
        "adapt-examples",
        "adapt-start",
        "adapt-stop",
        "adapt-score",
        "adapt-alpha",
        "adapt-report",
        "adapt-method",
        "adapt-objective",
        "adapt-budget",
    } <= ids


def test_an_estimate_is_asked_with_the_whole_request():
    client = FakeClient(pace=0)

    async def ask():
        from t2ui.messages import SearchEstimate
        from t2ui.ui.shared.listen import answer

        return await answer(client, EstimateAdapt(Adapt(PAIRS)), SearchEstimate, 5)

    assert asyncio.run(ask()).held_out == (2, 5)
