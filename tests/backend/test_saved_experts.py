"""What the page saves: into the shared folder, or in a public app for one session alone."""

import errno
import os
import resource
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from t2ui.backend import saved_experts
from t2ui.backend.serving import ModelBackend
from t2ui.backend.session_folders import SessionFolders
from t2ui.config import Sampling, WorkerConfig
from t2ui.errors import InputError
from t2ui.evaluation.statistics import interval_of
from t2ui.messages import (
    Adapt,
    AddExpert,
    Ask,
    Component,
    DeleteExpert,
    Done,
    EndSession,
    EstimateAdapt,
    ExpertDeleted,
    ExpertFile,
    ExpertSaved,
    Failed,
    Heatmap,
    Measured,
    NextToken,
    NextTokens,
    ReadExpert,
    RenameExpert,
    SaveExpert,
    SearchEstimate,
    SessionEnded,
)
from t2ui.svf.adapter import adapt
from t2ui.svf.expert import Expert
from t2ui.svf.mixture import Mixture, mix
from t2ui.worker.scheduler import Scheduler

WEIGHTS = {"math": 0.7, "code": 0.2}
MINE, YOURS = "a" * 32, "b" * 32
EXAMPLES = (("one and one", "2"), ("two and two", "4"), ("two and one", "3"), ("one", "1"))


@pytest.fixture(scope="module")
def adapter(tiny_llama, tmp_path_factory):
    with adapt(tiny_llama, cache_dir=tmp_path_factory.mktemp("svd")) as made:
        yield made


@pytest.fixture
def folder(adapter, tmp_path):
    """The shared folder, with two experts that came with the app."""
    found = tmp_path / "experts" / "tiny-llama"
    for name, seed in [("math", 1), ("code", 2)]:
        generator = torch.Generator().manual_seed(seed)
        scales = {
            matrix: 1 + 0.5 * torch.randn(factors.S.numel(), generator=generator)
            for matrix, factors in adapter.factors.items()
        }
        expert = Expert(name, scales, "tiny-llama", adapter.fingerprint, labels=(name,))
        expert.save(found / f"{name}.safetensors")
    return found


@pytest.fixture
def backend(adapter, tiny_tokenizer, folder):
    return ModelBackend(adapter.model, tiny_tokenizer, adapter, folder.parent)


@pytest.fixture
def public(adapter, tiny_tokenizer, folder, tmp_path):
    sessions = SessionFolders(tmp_path / "sessions", hours=2)
    return ModelBackend(adapter.model, tiny_tokenizer, adapter, folder.parent, sessions)


def run(backend, request):
    loop = Scheduler(backend, WorkerConfig(model="tiny"))
    loop.take("0", request)
    events = []
    while not loop.idle:
        events += [event for _, event in loop.turn()]
    return events


def one(backend, request, kind):
    events = run(backend, request)
    found = [event for event in events if isinstance(event, kind)]
    assert found, events
    return found[0]


def names(listing):
    return [expert.name for expert in listing.experts]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# --- saving --------------------------------------------------------------------------------------


def test_a_saved_mixture_is_an_expert_that_does_the_same(backend, folder):
    saved = one(backend, SaveExpert("both", WEIGHTS, training={"set_by": "CEM"}), ExpertSaved)
    expert = Expert.load(folder / saved.file_name)
    experts = backend._experts.library().experts
    for matrix, z in mix(experts, Mixture(WEIGHTS)).items():
        torch.testing.assert_close(expert.scales[matrix], z)
    assert expert.training["set_by"] == "CEM" and expert.base_model == "tiny-llama"
    listed = saved.experts.experts
    assert {"both", "math"} <= {e.name for e in listed if e.kind == "expert" and not e.transfer}
    assert [e.name for e in listed if e.saved] == ["both"]
    mixed = one(backend, NextToken("Hello", WEIGHTS), NextTokens)
    folded = one(backend, NextToken("Hello", {"both": 1.0}), NextTokens)
    assert folded.kl == pytest.approx(mixed.kl, rel=1e-4)


def test_what_was_measured_before_stands_in_the_file_with_its_intervals(backend, folder):
    found = Measured("decimals, 27 questions", "greedy", 3, 17, 27, 0.000123)
    saved = one(backend, SaveExpert("measured", WEIGHTS, measured=found), ExpertSaved)
    (record,) = Expert.load(folder / saved.file_name).metrics
    assert record == {
        "set": "decimals, 27 questions",
        "protocol": "greedy",
        "n": 27,
        "base": 0.1111,
        "base_interval": interval_of(3, 27),
        "expert": 0.6296,
        "interval": interval_of(17, 27),
        "p": 0.00012,
    }
    (listed,) = (e for e in saved.experts.experts if e.name == "measured")
    assert listed.metrics == [record]
    nothing = Measured("leave-one-out", "on the page", 0, 0, 0, None)
    saved = one(backend, SaveExpert("unmeasured", WEIGHTS, measured=nothing), ExpertSaved)
    assert Expert.load(folder / saved.file_name).metrics == []


@pytest.mark.parametrize(
    "name", ["", "../evil", "a/b", "a\\b", ".hidden", "x" * 41, "née", "a b", "-rf", "a\n", "a.b"]
)
def test_a_name_that_is_no_plain_word_is_refused(name):
    with pytest.raises(InputError, match="letters"):
        SaveExpert(name, {"math": 1.0})
    with pytest.raises(InputError, match="letters"):
        RenameExpert("math", name)


@pytest.mark.parametrize("name", ["math", "MATH"])
def test_no_expert_is_written_over(backend, folder, name):
    one(backend, SaveExpert("mine", WEIGHTS), ExpertSaved)
    before = contents(folder)
    for request in (SaveExpert(name, {"math": 0.5}), RenameExpert("mine", name)):
        failed = one(backend, request, Failed)
        assert "already" in failed.message and "another name" in failed.message
    assert contents(folder) == before


def test_a_name_of_a_file_that_did_not_load_is_taken_too(backend, folder):
    (folder / "broken.safetensors").write_text("nothing")
    assert "already" in one(backend, SaveExpert("broken", {"math": 0.5}), Failed).message


def test_the_base_model_and_a_full_folder_are_not_saved(backend, folder, monkeypatch):
    assert "0" in one(backend, SaveExpert("zero", {"math": 0.0}), Failed).message
    monkeypatch.setattr(saved_experts, "MOST_EXPERTS", 2)
    assert "download" in one(backend, SaveExpert("new", {"math": 0.5}), Failed).message
    assert len(list(folder.iterdir())) == 2


@contextmanager
def small_disk():
    """No file can become larger than 1,000 bytes: what a full disk does, without filling one. Only
    inside the block: the tests' own output may go to a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_one_clear_line_and_leaves_nothing(backend, folder):
    before = contents(folder)
    with small_disk():
        failed = one(backend, SaveExpert("big", WEIGHTS), Failed)
    assert failed.message.startswith("big.safetensors could not be saved (")
    assert "free some space" in failed.message and "\n" not in failed.message
    assert contents(folder) == before


def test_a_disk_that_says_it_is_full_is_named(backend, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("t2ui.svf.expert.save_file", full)
    failed = one(backend, SaveExpert("big", WEIGHTS), Failed)
    assert "No space left on device" in failed.message


# --- renaming, reading, deleting -----------------------------------------------------------------


def test_a_saved_expert_is_renamed_and_stays_what_it_is(backend, folder):
    one(backend, SaveExpert("both", WEIGHTS), ExpertSaved)
    before = one(backend, NextToken("Hello", {"both": 1.0}), NextTokens)
    renamed = one(backend, RenameExpert("both", "better"), ExpertSaved)
    assert (renamed.name, renamed.file_name) == ("better", "better.safetensors")
    assert names(renamed.experts) == ["better", "code", "math"]
    assert not (folder / "both.safetensors").exists()
    after = one(backend, NextToken("Hello", {"better": 1.0}), NextTokens)
    assert after.candidates == before.candidates
    assert "both" in one(backend, NextToken("Hello", {"both": 1.0}), Failed).message
    assert one(backend, RenameExpert("better", "Better"), ExpertSaved).name == "Better"


def test_a_saved_expert_is_read_and_deleted(backend, folder):
    one(backend, SaveExpert("both", WEIGHTS), ExpertSaved)
    file = one(backend, ReadExpert("both"), ExpertFile)
    assert file.data == (folder / "both.safetensors").read_bytes()
    deleted = one(backend, DeleteExpert("both"), ExpertDeleted)
    assert names(deleted.experts) == ["code", "math"]
    assert "any more" in one(backend, DeleteExpert("both"), Failed).message


@pytest.mark.parametrize("name", ["math", "../math", "/etc/passwd", "nothing", ""])
@pytest.mark.parametrize("place", ["backend", "public"])
def test_what_came_with_the_app_is_left_alone(request, place, name, folder):
    found, before = request.getfixturevalue(place), contents(folder)
    for asked in (
        DeleteExpert(name, MINE),
        ReadExpert(name, MINE),
        RenameExpert(name, "new", MINE),
    ):
        failed = one(found, asked, Failed)
        assert "was not saved on this page" in failed.message or "any more" in failed.message
    assert contents(folder) == before


# --- a public app --------------------------------------------------------------------------------


def test_what_a_visitor_saves_is_the_sessions_own(public, folder):
    before = contents(folder)
    saved = one(public, SaveExpert("both", WEIGHTS, session=MINE), ExpertSaved)
    assert contents(folder) == before, "nobody writes into the shared folder"
    assert names(saved.experts) == ["math", "code", "both"] or "both" in names(saved.experts)
    assert [e.name for e in saved.experts.experts if e.saved] == ["both"]
    weights = {"both": 1.0}
    for mine in (
        NextToken("Hello", weights, session=MINE),
        Ask("Hello", weights, sampling=Sampling(4), session=MINE),
        Heatmap(weights, session=MINE),
        Component(public.adapter.names[0], weights, session=MINE),
        EstimateAdapt(Adapt(EXAMPLES), MINE),
    ):
        assert isinstance(run(public, mine)[-1], Done)
    for other in ("", YOURS, MINE[:-1], MINE.upper()):
        for theirs in (
            NextToken("Hello", weights, session=other),
            Ask("Hello", weights, session=other),
            Heatmap(weights, session=other),
            Component(public.adapter.names[0], weights, session=other),
            DeleteExpert("both", other),
            ReadExpert("both", other),
        ):
            assert "both" in one(public, theirs, Failed).message
        assert "both" not in names(public._experts.listing(other))
    # a search of the session takes its expert in, another's does not
    mine = one(public, EstimateAdapt(Adapt(EXAMPLES), MINE), SearchEstimate).tokens
    theirs = one(public, EstimateAdapt(Adapt(EXAMPLES), YOURS), SearchEstimate).tokens
    assert mine >= theirs


@pytest.mark.parametrize("session", ["", "..", "../../experts", "x" * 32, MINE + "/"])
def test_without_a_session_nothing_is_saved_in_public(public, folder, session, tmp_path):
    before = contents(folder)
    failed = one(public, SaveExpert("both", WEIGHTS, session=session), Failed)
    assert "public" in failed.message and "download" in failed.message
    run(public, EndSession(session))
    assert contents(folder) == before and not (tmp_path / "sessions").exists()


def test_two_visitors_may_use_one_name_and_neither_sees_the_other(public):
    one(public, SaveExpert("mine", {"math": 1.0}, session=MINE), ExpertSaved)
    one(public, SaveExpert("mine", {"code": 1.0}, session=YOURS), ExpertSaved)
    kl = [
        one(public, NextToken("Hello", {name: 1.0}, session=session), NextTokens).kl
        for name, session in (("mine", MINE), ("math", ""), ("mine", YOURS), ("code", ""))
    ]
    assert kl[0] == kl[1] and kl[2] == kl[3] and kl[0] != kl[2]


def test_what_a_visitor_saved_goes_with_the_session(public, tmp_path):
    assert [e.session for e in public.listings()] == [""]
    one(public, SaveExpert("mine", WEIGHTS, session=MINE), ExpertSaved)
    assert [e.session for e in public.listings()] == [MINE]
    assert not list(public.listings()), "nothing has changed"
    run(public, EndSession(MINE))
    assert list(public.listings()) == [SessionEnded(MINE)]
    assert not list((tmp_path / "sessions").iterdir())
    assert "mine" in one(public, NextToken("Hello", {"mine": 1.0}, session=MINE), Failed).message


def test_the_end_of_a_session_that_saved_since_the_last_look_is_told(public):
    """The client has its list from the saving alone, and would keep it."""
    list(public.listings())
    one(public, SaveExpert("mine", WEIGHTS, session=MINE), ExpertSaved)
    run(public, EndSession(MINE))
    assert list(public.listings()) == [SessionEnded(MINE)]
    assert not list(public.listings())


def test_where_the_app_is_not_public_a_saved_expert_is_in_everybodys_list(backend):
    saved = one(backend, SaveExpert("mine", WEIGHTS, session=MINE), ExpertSaved)
    assert saved.experts.session == "" and "mine" in names(saved.experts)
    assert [e.session for e in backend.listings()] == [""]


def test_what_a_visitor_saved_goes_when_it_was_not_used_for_hours(public, tmp_path):
    for session in (MINE, YOURS):
        one(public, SaveExpert("mine", WEIGHTS, session=session), ExpertSaved)
        old = time.time() - 3 * 3600
        os.utime(tmp_path / "sessions" / session, (old, old))
    one(public, NextToken("Hello", {"mine": 1.0}, session=MINE), NextTokens)  # heard of again
    list(public.listings())
    assert [path.name for path in (tmp_path / "sessions").iterdir()] == [MINE]
    list(public.listings())
    assert [path.name for path in (tmp_path / "sessions").iterdir()] == [MINE]


def test_visitors_have_room_for_a_few_experts_each_and_not_for_ever_more(public, monkeypatch):
    monkeypatch.setattr(saved_experts, "MOST_OWN", 2)
    monkeypatch.setattr(saved_experts, "MOST_SESSIONS", 1)
    for name in ("one", "two"):
        one(public, SaveExpert(name, WEIGHTS, session=MINE), ExpertSaved)
    assert "at most 2" in one(public, SaveExpert("three", WEIGHTS, session=MINE), Failed).message
    assert "no room" in one(public, SaveExpert("one", WEIGHTS, session=YOURS), Failed).message
    one(public, DeleteExpert("one", MINE), ExpertDeleted)
    one(public, SaveExpert("three", WEIGHTS, session=MINE), ExpertSaved)


def test_a_shared_expert_of_the_same_name_wins_and_it_is_said(public, folder):
    one(public, SaveExpert("law", WEIGHTS, session=MINE), ExpertSaved)
    shared = Expert.load(folder / "code.safetensors")
    Expert("law", shared.scales, "tiny-llama", shared.fingerprint).save(folder / "law.safetensors")
    listed = public._experts.listing(MINE)
    assert names(listed).count("law") == 1
    assert any("rename yours" in why for _, why in listed.problems)
    one(public, RenameExpert("law", "mylaw", MINE), ExpertSaved)
    assert not public._experts.listing(MINE).problems


def test_a_folder_that_cannot_be_read_is_a_problem_line(backend, folder, monkeypatch):
    def locked(_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("t2ui.backend.experts_folder.expert_files", locked)
    (listed,) = backend.listings()
    assert not listed.experts and "Permission denied" in listed.problems[0][1]


# --- files that somebody has ---------------------------------------------------------------------


def test_a_file_is_added_as_the_visitor_s_own(backend, public, folder, tmp_path):
    data = (folder / "math.safetensors").read_bytes()
    (failed,) = (event for event in run(backend, AddExpert(data)) if isinstance(event, Failed))
    assert "There is an expert 'math' already" in failed.message
    other = replace(Expert.load(folder / "math.safetensors"), name="other", compact=False)
    other.save(tmp_path / "other.safetensors")
    data = (tmp_path / "other.safetensors").read_bytes()
    added = one(backend, AddExpert(data), ExpertSaved)
    assert added.name == "other" and "other" in names(added.experts)
    kept = Expert.load(folder / "other.safetensors")
    assert all(kept.scales[name].equal(z) for name, z in other.scales.items())
    one(backend, DeleteExpert("other"), ExpertDeleted)
    own = one(public, AddExpert(data, session=MINE), ExpertSaved)
    assert "other" in names(own.experts) and not (folder / "other.safetensors").exists()
    assert "other" not in names(public._experts.listing(YOURS))


@pytest.mark.parametrize("data", [b"nothing of the kind", b"\x08\x00\x00\x00\x00\x00\x00\x00{}"])
def test_what_is_no_expert_is_refused_in_one_line(backend, folder, data):
    before = contents(folder)
    (failed,) = (event for event in run(backend, AddExpert(data)) if isinstance(event, Failed))
    assert "\n" not in failed.message and contents(folder) == before


def test_an_expert_of_other_shapes_or_with_no_file_s_name_is_refused(backend, folder, tmp_path):
    math = Expert.load(folder / "math.safetensors")
    for bad, words in (
        (replace(math, name="a b/c"), "expected 1 to 40 letters"),
        (replace(math, name="Base"), "has a meaning of its own"),
        (
            replace(math, name="short", scales={n: z[:2] for n, z in math.scales.items()}),
            "does not fit",
        ),
    ):
        bad.save(tmp_path / "bad.safetensors")
        data = (tmp_path / "bad.safetensors").read_bytes()
        (failed,) = (event for event in run(backend, AddExpert(data)) if isinstance(event, Failed))
        assert words in failed.message, failed
