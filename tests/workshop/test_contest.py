"""The contest without a worker: entries, the disk, the end; and the seats."""

import json

import pytest

from t2ui.errors import InputError
from t2ui.evaluation.contest import decide
from t2ui.files import CannotWrite
from t2ui.workshop.contest import ENDED, ENDING, OPEN, Contest
from t2ui.workshop.entry import GONE, SCORED, SCORING, STOPPED, WAITING
from t2ui.workshop.file import ContestPlan
from t2ui.workshop.seats import Seats, SeatTaken

PLAN = ContestPlan("Sums", (("1 + 1", "2"), ("2 + 2", "4")), (("3 + 3", "6"), ("4 + 4", "8")))
SEATS = ("Ada", "Ben", "Cem")
KNOWN = ("math", "code")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "class.entries.json"


@pytest.fixture
def contest(path):
    return Contest.opened(PLAN, path, SEATS)


def test_the_last_entry_counts_and_one_replaced_while_it_was_scored_does_not(contest):
    contest.hand_in("Ada", {"math": 1.0}, KNOWN)
    (first,) = contest.take_waiting(8)
    assert first.state == SCORING
    contest.hand_in("Ada", {"code": 0.5, "math": 0.0}, KNOWN)
    contest.scored([first], decide([[True, True]]).entries)
    assert contest.entries["Ada"].right is None and contest.entries["Ada"].mixture == {"code": 0.5}
    contest.scored(contest.take_waiting(8), decide([[True, False]]).entries)
    assert contest.entries["Ada"].right == 1 and contest.take_waiting(8) == []


@pytest.mark.parametrize(
    ("mixture", "says"),
    [
        (None, "expected coefficients by expert"),
        ([1], "expected coefficients by expert"),
        ({"math": "x"}, "'x'; a number is expected"),
        ({"math": True}, "True; a number is expected"),
        ({"math": float("nan")}, "is nan; a contest takes -1 to 2"),
        ({"math": 2.0000001}, "is 2.0000001; a contest takes -1 to 2: move its slider"),
        ({"code": 0.5, "math": -1.01}, "The coefficient of math is -1.01"),
        ({"math": 10**400}, "a contest takes -1 to 2"),
        ({"poems": 1.0}, "There is no expert 'poems'"),
        ({"math": 0}, "move one first"),
        ({"math": 1e-300, "code": -4e-7}, "move one first"),
    ],
)
def test_what_cannot_be_handed_in_is_one_line_and_changes_nothing(contest, path, mixture, says):
    with pytest.raises(InputError) as raised:
        contest.hand_in("Ada", mixture, KNOWN)
    assert says in str(raised.value) and not contest.entries and not path.exists()


def test_the_ends_of_a_slider_are_taken_and_what_it_shows_as_0_is_left_out(contest):
    normalised = {"math": 2.0000000000000004, "code": -1.0000000000000002, "poems": 1e-9}
    entry = contest.hand_in("Ada", normalised, (*KNOWN, "poems"))
    assert entry.mixture == pytest.approx({"math": 2, "code": -1})


def test_a_restart_loses_no_entry_and_scores_what_was_not(contest, path):
    contest.hand_in("Ada", {"math": 1.0}, KNOWN)
    contest.scored(contest.take_waiting(8), decide([[True, False]]).entries)
    contest.hand_in("Ben", {"code": 0.25}, KNOWN)
    contest.take_waiting(8)  # and then the server dies
    again = Contest.opened(PLAN, path, SEATS)
    assert {seat: (one.mixture, one.right, one.state) for seat, one in again.entries.items()} == {
        "Ada": ({"math": 1.0}, 1, SCORED),
        "Ben": ({"code": 0.25}, None, WAITING),
    }
    assert [one.mixture for one in again.take_waiting(8)] == [{"code": 0.25}]
    assert list(path.parent.iterdir()) == [path], "nothing half-written is left"


def test_the_end_ranks_by_hidden_answers_and_tests_the_best(contest, path):
    for seat, mixture in (("Ben", {"code": 1.0}), ("Ada", {"math": 1.0})):
        contest.hand_in(seat, mixture, KNOWN)
    contest.begin_search()
    contest.searched({"math": 0.5, "code": 0.0}, 2)
    contest.end()
    with pytest.raises(InputError, match="nothing is handed in any more"):
        contest.hand_in("Ben", {"math": 1.0}, KNOWN)
    with pytest.raises(InputError, match="nobody joins any more"):
        contest.begin_search()
    entries, rivals = contest.players()
    assert [name for name, _ in entries] == ["Ben", "Ada"]
    assert rivals == [("base model", {}), ("CEM search", {"math": 0.5})]
    found = decide([[True, False], [True, True]], [[False, False], [True, False]])
    contest.decided(entries, rivals, found)
    assert contest.state == ENDED
    for kept in (contest, Contest.opened(PLAN, path, SEATS)):
        found = kept.result
        assert found["best"] == "Ada" and found["n"] == 2
        order = [(one["name"], one["right"], one["rival"]) for one in found["standings"]]
        assert order[0] == ("Ada", 2, False) and order[-1] == ("base model", 0, True)
        against = {one["against"]: one for one in found["tests"]}
        assert against["base model"]["won"] == 2 and against["base model"]["p"] == 0.5
        assert against["base model"]["p_of_all"] == 1.0, "twice, as there are two entries"
        assert (against["CEM search"]["won"], against["CEM search"]["lost"]) == (1, 0)
    with pytest.raises(InputError, match="was ended before"):
        contest.end()


def test_without_entries_there_is_no_best(contest):
    contest.end()
    contest.decided(*contest.players(), decide([], [[True, False]]))
    assert contest.result["best"] is None and contest.result["tests"] == []
    assert [one["right"] for one in contest.result["standings"]] == [1]


def test_an_entry_whose_expert_is_gone_is_set_aside_until_it_is_back(contest):
    contest.hand_in("Ada", {"mine": 1.0}, (*KNOWN, "mine"))
    contest.hand_in("Ben", {"mine": 0.5, "ours": 0.5}, (*KNOWN, "mine", "ours"))
    contest.hand_in("Cem", {"math": 1.0}, KNOWN)
    contest.look_for_experts(KNOWN)
    ada, ben = contest.entries["Ada"], contest.entries["Ben"]
    assert ada.state == ben.state == GONE
    assert ada.note == "The expert 'mine' is not there any more: hand in another mixture."
    assert ben.note.startswith("The experts 'mine' and 'ours' are not there any more: hand in")
    assert [one.mixture for one in contest.take_waiting(8)] == [{"math": 1.0}]
    contest.look_for_experts((*KNOWN, "mine"))
    assert (ada.state, ada.note, ben.state) == (WAITING, "", GONE)
    contest.scored(contest.take_waiting(8), decide([[True, False]]).entries)
    contest.look_for_experts(KNOWN)
    contest.look_for_experts((*KNOWN, "mine"))
    assert (ada.state, ada.right) == (SCORED, 1), "what was scored is not scored again"


def test_the_end_is_decided_without_those_that_are_left_out_and_says_why(contest, path):
    contest.hand_in("Ada", {"mine": 1.0}, (*KNOWN, "mine"))
    contest.hand_in("Ben", {"math": 1.0}, KNOWN)
    contest.hand_in("Cem", {"code": 1.0}, KNOWN)
    contest.failed([contest.entries["Cem"]], "It does not fit.")
    contest.begin_search()
    contest.searched({"mine": 0.5}, 2)
    contest.look_for_experts(KNOWN)
    assert "let CEM play again" in contest.search.note
    contest.end()
    contest.look_for_experts(KNOWN)
    assert [[name for name, _ in some] for some in contest.players()] == [
        ["Ben", "Cem"],
        ["base model"],
    ]
    assert contest.leave_out_failed() and not contest.leave_out_failed()
    contest.decided(*contest.players(), decide([[True, False]], [[False, False]]))
    for kept in (contest, Contest.opened(PLAN, path, SEATS)):
        assert kept.result["best"] == "Ben" and kept.result["entries"] == 1
        missing = "The expert 'mine' is not there any more."
        assert kept.result["left_out"] == [
            {"name": "Ada", "why": missing},
            {"name": "Cem", "why": "It does not fit."},
            {"name": "CEM search", "why": missing},
        ]


def test_what_was_handed_in_just_before_the_end_is_still_scored(contest):
    contest.hand_in("Ada", {"math": 1.0}, KNOWN)
    contest.end()
    contest.scored(contest.take_waiting(8), decide([[True, False]]).entries)
    assert contest.entries["Ada"].right == 1
    contest.decided(*contest.players(), decide([[True, False]], [[False, False]]))
    contest.entries["Ada"].state = WAITING
    assert contest.take_waiting(8) == []


@pytest.mark.parametrize(
    ("right", "tied"), [((2, 2, 1), ["Ada", "Ben"]), ((2, 1, 1), []), ((), [])]
)
def test_who_had_as_many_right_as_the_best_is_said(contest, right, tied):
    for seat, _ in zip(SEATS, right, strict=False):
        contest.hand_in(seat, {"math": 1.0}, KNOWN)
        contest.entries[seat].at = seat  # one after the other
    contest.end()
    found = decide([[True] * one + [False] * (2 - one) for one in right], [[False, False]])
    contest.decided(*contest.players(), found)
    assert contest.result["tied"] == tied
    assert contest.result["best"] == ("Ada" if right else None), "the earlier of equals counts"


def test_a_result_from_before_ties_were_told_is_still_read(contest, path):
    contest.hand_in("Ada", {"math": 1.0}, KNOWN)
    contest.end()
    contest.decided(*contest.players(), decide([[True, False]], [[False, False]]))
    kept = json.loads(path.read_text())
    for new in ("entries", "tied", "left_out"):
        del kept["result"][new]
    path.write_text(json.dumps(kept))
    assert Contest.opened(PLAN, path, SEATS).result == contest.result


def test_an_end_that_failed_is_tried_again(contest):
    contest.end()
    contest.not_decided("The worker stopped.")
    contest.end()
    assert contest.note == ""


def test_a_search_that_found_nothing_can_be_started_again(contest):
    contest.begin_search()
    with pytest.raises(InputError, match="searches already"):
        contest.begin_search()
    contest.search_ended(STOPPED, "It was stopped.")
    contest.begin_search()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda kept: "", "holds no entries"),
        (lambda kept: "[]", "holds no entries"),
        (lambda kept: json.dumps({**kept, "format": "x"}), "format is 'x'"),
        (lambda kept: json.dumps({**kept, "state": "x"}), "state is 'x'"),
        (lambda kept: json.dumps({**kept, "contest": "x"}), "other questions"),
        (lambda kept: json.dumps(kept).replace("Ada", "Zoe"), "has an entry of 'Zoe'"),
        (lambda kept: json.dumps(kept).replace("1.0", '"x"'), "a number is expected"),
    ],
)
def test_entries_that_are_not_this_contests_stop_the_start(contest, path, change, says):
    contest.hand_in("Ada", {"math": 1.0}, KNOWN)
    path.write_text(change(json.loads(path.read_text())))
    with pytest.raises(InputError) as raised:
        Contest.opened(PLAN, path, SEATS)
    assert says in str(raised.value) and "move it away" in str(raised.value)
    assert contest.state == OPEN


# --- seats ---------------------------------------------------------------------------------------


def test_a_seat_belongs_to_one_browser_until_it_is_freed():
    seats = Seats(SEATS)
    token = seats.take("Ada").token
    with pytest.raises(SeatTaken, match="Ada is taken"):
        seats.take("Ada")
    with pytest.raises(InputError, match="There is no seat 'Zoe'"):
        seats.take("Zoe")
    assert seats.of_token(token).name == "Ada"
    for forged in ("", "x", token[:-1], "Ada", "ü"):
        assert seats.of_token(forged) is None
    other = seats.take("Ben", token).token
    assert seats.of_token(token) is None, "whoever sits down elsewhere gets up"
    seats.free("Ben")
    assert seats.of_token(other) is None


def test_the_board_knows_the_last_question_its_mixture_and_how_many_were_answered():
    now = [10.0]
    seats = Seats(SEATS, lambda: now[0])
    ada = seats.take("Ada")
    seats.seen(ada, "Ask" + "x" * 99)
    now[0] = 13.0
    assert seats.seconds_ago(ada) == 3.0 and len(ada.page) == 20
    seats.asked(ada.session, "first")
    seats.mixed(ada.session, "first", {"math": 1.0})
    seats.asked(ada.session, "second")
    assert ada.question == "second" and ada.mixture is None
    seats.mixed(ada.session, "first", {"math": 1.0})
    assert ada.mixture is None, "the first one's mixture comes late"
    seats.mixed(ada.session, "second", {"code": 0.5})
    seats.answered(ada.session, "second", "x" * 9999)
    for stranger in ("", "seat:Zoe", "@ada", "Ada"):
        seats.answered(stranger, "second", "no")
    assert (ada.mixture, ada.answers, ada.answer) == ({"code": 0.5}, 1, "x" * 4000)
    seats.asked(ada.session, "third")
    assert ada.answer == ""
    seats.answered(ada.session, "second", "late")
    assert (ada.answer, ada.answers) == ("", 2), "it counts, and is no answer to the third"
    assert [one.answers for one in seats.all()] == [2, 0, 0]


def test_a_full_disk_refuses_an_entry_and_keeps_what_was_found(contest, path):
    contest.hand_in("Ada", {"math": 1.0}, KNOWN)
    taken = contest.take_waiting(8)
    path.unlink()
    path.mkdir()  # nothing can be renamed onto it
    contest.scored(taken, decide([[True, False]]).entries)
    assert contest.entries["Ada"].right == 1 and "cannot be written" in contest.disk
    with pytest.raises(InputError, match="cannot be written"):
        contest.hand_in("Ben", {"math": 1.0}, KNOWN)
    path.rmdir()
    contest.hand_in("Ben", {"math": 1.0}, KNOWN)
    assert contest.disk == "" and path.is_file()


def test_what_the_disk_refuses_has_not_happened_and_can_be_done_again(contest, path):
    contest.hand_in("Ada", {"math": 1.0}, KNOWN)
    contest.scored(contest.take_waiting(8), decide([[True, False]]).entries)
    scored = contest.entries["Ada"]
    path.unlink()
    path.mkdir()
    for act in (lambda: contest.hand_in("Ada", {"code": 1.0}, KNOWN), contest.end):
        with pytest.raises(CannotWrite):
            act()
    assert contest.entries == {"Ada": scored} and contest.state == OPEN
    contest.write_again()
    assert "cannot be written" in contest.disk
    path.rmdir()
    contest.write_again()
    assert contest.disk == "" and Contest.opened(PLAN, path, SEATS).entries == {"Ada": scored}
    contest.end()
    assert Contest.opened(PLAN, path, SEATS).state == ENDING
