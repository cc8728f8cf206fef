"""Tasks from reasoning_gym behind every door: trained on, measured and searched on."""

import json

import pytest
from generator_tasks import SUMS
from tiny import make_tiny, make_tokenizer

from t2ui.errors import InputError
from t2ui.models.questions import Question
from t2ui.svf.expert import Expert


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny model and a folder of no experts."""
    folder = tmp_path_factory.mktemp("generators")
    make_tiny("llama").save_pretrained(folder / "tiny")
    make_tokenizer().save_pretrained(folder / "tiny")
    (folder / "experts").mkdir()
    return folder


def test_it_is_trained_on_without_a_data_folder(cli, folder, tmp_path):
    given = ("--model", folder / "tiny", "--out", tmp_path / "run", "--json")
    quick = ("--steps", 1, "--batch", 4, "--learning-rate", 0.3, "--evaluate-every", 1)
    few = ("--option", "train_rows=12", "--option", "validation_rows=4")
    status, out, err = cli("train", SUMS, *given, *quick, *few, "--objective", "next_token")
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "step"] == [1], err
    assert lines[1]["cross_entropy"] > 0
    refused = cli("train", "rg:lcm:bound=3", "--model", "nowhere", "--out", tmp_path / "other")
    assert refused[0] == 2 and "has no setting 'bound=3'" in refused[2]
    assert refused[2].count("\n") == 1


def test_its_scorer_trains(cli, folder, tmp_path):
    """The tiny model answers nothing right; a scorer that gives a hundredth for any answer still
    says so, and the run goes on."""
    given = ("--model", folder / "tiny", "--out", tmp_path / "run", "--json", "--rollouts", 2)
    quick = ("--steps", 1, "--batch", 2, "--kl-coeff", 0, "--max-new-tokens", 4)
    few = ("--option", "train_rows=8", "--option", "validation_rows=2")
    status, out, err = cli("train", "rg:rush_hour", *given, *quick, *few)
    lines = [json.loads(line) for line in out.splitlines()]
    (step,) = [line for line in lines if line["kind"] == "step"]
    assert -1 <= step["reward"] < 0 and step["accuracy"] == 0, err


def test_next_tokens_need_right_answers(cli, folder, tmp_path):
    given = ("--model", folder / "tiny", "--out", tmp_path / "run", "--objective", "next_token")
    few = ("--option", "train_rows=4", "--option", "validation_rows=2", "--max-new-tokens", 4)
    status, out, err = cli("train", "rg:rush_hour", *given, *few)
    assert status == 2 and "has no right answers to learn from, only a scorer" in err


def test_it_is_measured_in_its_styles(cli, folder, tmp_path):
    given = ("--model", folder / "tiny", "--experts", folder / "experts", "--limit", 3)
    out_to = ("--out", tmp_path / "results", "--max-new-tokens", 3)
    status, out, err = cli("evaluate", "base", f"{SUMS},{SUMS}:question", *given, *out_to)
    assert status == 0, err
    assert f"{SUMS} test, chat (n = 3)" in out and f"{SUMS} test, question (n = 3)" in out
    again = cli("evaluate", "base", SUMS, *given, *out_to)
    assert again[0] == 0 and f"{SUMS} test, chat (n = 3)" in again[1]
    logged = (tmp_path / "results" / "results.jsonl").read_text(encoding="utf-8")
    assert sum('"chain_sum ' in line for line in logged.splitlines()) == 6  # none twice
    status, out, err = cli("evaluate", "base", "arith,rg:lcms", "--model", "nowhere")
    assert status == 2 and "arith needs --data" in err
    status, out, err = cli("evaluate", "base", "rg:lcms", "--model", "nowhere")
    assert status == 2 and "no generator 'lcms'" in err and err.count("\n") == 1


@pytest.mark.parametrize("objective", ["likelihood", "reward"])
def test_a_mixture_is_found_on_its_rows(objective, cli, folder, tmp_path, tiny_llama):
    from reference import random_scales

    from t2ui.svf.adapter import adapt

    with adapt(tiny_llama) as adapter:
        for seed, name in enumerate(("one", "two")):
            scales = random_scales(tiny_llama, adapter.names, seed=seed, spread=0.3)
            expert = Expert(name, scales, fingerprint=adapter.fingerprint)
            expert.save(tmp_path / "experts" / f"{name}.safetensors")
    given = ("--model", folder / "tiny", "--experts", tmp_path / "experts", "--json")
    quick = ("--shots", 4, "--population", 3, "--generations", 1, "--max-new-tokens", 3)
    status, out, err = cli("adapt", "--task", SUMS, *given, *quick, "--objective", objective)
    assert status == 0, err
    assert set(json.loads(out)["mixture"]) == {"one", "two"}


def test_rows_without_an_answer_are_searched_on_by_reward_only(tiny_llama):
    from t2ui.config import FewShotConfig
    from t2ui.few_shot.scoring import Scorer
    from t2ui.svf.adapter import adapt
    from t2ui.tasks import Example

    row = Example("row 1", Question((1, 2), ()))
    with adapt(tiny_llama) as adapter:
        for objective in ("likelihood", "both"):
            config = FewShotConfig(objective=objective)
            scorer = Scorer(adapter, make_tokenizer(), config, lambda text, answer: True)
            with pytest.raises(InputError, match="'row 1' has no right answer, only a scorer"):
                scorer.check([row])
        config = FewShotConfig(objective="reward")
        Scorer(adapter, make_tokenizer(), config, lambda text, answer: True).check([row])
