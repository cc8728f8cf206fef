"""The Adapt page's link: to its state and back, and what a hostile one does."""

from urllib.parse import parse_qs, urlsplit

from t2ui.ui.adapt.link import DEFAULTS, from_link, link_to

ROWS = [("How many? & <b>", "7"), ("", ""), ("Ω “x”", "a=b")]


def read(link):
    return from_link({key: value[0] for key, value in parse_qs(urlsplit(link).query).items()})


def test_a_link_brings_examples_and_settings_back():
    settings = {**DEFAULTS, "objective": "both", "budget": "paper"}
    link, note = link_to(ROWS, settings)
    assert read(link).rows == (ROWS[0], ROWS[2]) and not note
    assert read(link).settings == {"objective": "both", "budget": "paper"}


def test_a_long_table_is_cut_at_a_row_and_says_so():
    link, note = link_to([(f"{n} " + "x" * 300, "y") for n in range(30)], DEFAULTS)
    kept = read(link).rows
    assert 5 < len(kept) < 30 and f"the first {len(kept)} of 30" in note


def test_nonsense_in_a_link_is_left_out():
    query = {"tab": "adapt", "method": "rm -rf", "budget": "fast"}
    for examples in ("[", "7", '{"a": 1}', '[["a"], [1, 2], ["a", null], ["p", "a"]]', "[" * 9999):
        found = from_link({**query, "examples": examples})
        assert found.settings == {"budget": "fast"} and set(found.rows) <= {("p", "a")}
    assert from_link({"tab": "ask", "examples": '[["p", "a"]]'}).rows == ()
