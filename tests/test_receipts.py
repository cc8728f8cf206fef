"""Receipts in their file: what is kept, for how long, and how much."""

import threading

import pytest

from t2ui.errors import InputError
from t2ui.receipts import DAY_SECONDS, PRUNE_EVERY, Receipts, asked_hash

BEFORE = [["system", "be brief"]]
RECEIPT = {"model": "tiny", "prompt": "a secret", "before": BEFORE, "plain": False}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "receipts.sqlite3"


def test_a_receipt_is_found_by_the_answers_id_with_or_without_the_apis_prefix(path):
    receipts = Receipts(path, texts=True)
    receipts.put("abc", RECEIPT, ["f" * 64])
    for name in ("abc", "chatcmpl-abc", "cmpl-abc"):
        found = receipts.get(name)
        assert found["prompt"] == "a secret" and found["tokens"] == ["f" * 64]
    with pytest.raises(InputError, match="There is no receipt of 'xyz'"):
        receipts.get("xyz")
    receipts.close()
    again = Receipts(path)
    assert again.get("abc")["model"] == "tiny", "it outlives the server"
    again.close()
    assert path.stat().st_mode & 0o077 == 0


def test_texts_are_kept_only_where_they_are_wanted_and_are_known_again(path):
    receipts = Receipts(path)
    receipts.put("abc", RECEIPT, [])
    found = receipts.get("abc")
    assert "prompt" not in found and "before" not in found
    assert found["asked"] == asked_hash(RECEIPT) == asked_hash({**found, **RECEIPT})
    for other in ({"prompt": "a Secret"}, {"before": []}, {"plain": True}):
        assert asked_hash({**RECEIPT, **other}) != found["asked"]
    receipts.close()
    for file in path.parent.iterdir():
        assert b"secret" not in file.read_bytes() and b"be brief" not in file.read_bytes()


def test_old_ones_go(path):
    receipts = Receipts(path, days=2)
    receipts.put("old", RECEIPT, [], now=0)
    for number in range(PRUNE_EVERY):  # it looks now and then
        receipts.put(f"new{number}", RECEIPT, [], now=3 * DAY_SECONDS)
    assert len(receipts) == PRUNE_EVERY
    with pytest.raises(InputError, match="too old"):
        receipts.get("old")
    receipts.close()


def test_the_oldest_go_where_there_is_no_room(path):
    receipts = Receipts(path, megabytes=0.02)
    for number in range(5 * PRUNE_EVERY):
        receipts.put(f"n{number}", {**RECEIPT, "note": "x" * 500}, [], now=number)
    assert 20 <= len(receipts) <= 20 + 2 * PRUNE_EVERY
    assert receipts.get(f"n{5 * PRUNE_EVERY - 1}")
    with pytest.raises(InputError):
        receipts.get("n0")
    receipts.close()


def test_threads_and_a_second_process_share_the_file(path):
    one, two = Receipts(path), Receipts(path)

    def put(receipts, name):
        for number in range(100):
            receipts.put(f"{name}{number}", RECEIPT, [])

    threads = [
        threading.Thread(target=put, args=(receipts, name))
        for receipts, name in ((one, "a"), (one, "b"), (two, "c"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(one) == len(two) == 300
    one.close()
    two.close()


def test_a_file_that_is_none_is_said(path):
    path.parent.mkdir()
    path.write_text("no database at all, " * 100)
    with pytest.raises(InputError, match="cannot be used .*T2UI_CACHE"):
        Receipts(path)
