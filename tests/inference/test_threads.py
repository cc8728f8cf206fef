"""One model, several threads: everybody gets their own mixture's answer, and nothing stays set."""

import copy
import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from reference import greedy, logits, matrix_names, prompt_ids, random_scales

from t2ui.config import Sampling
from t2ui.errors import InputError
from t2ui.inference.decoding import Row, generate
from t2ui.inference.dispatch import LabelReader
from t2ui.inference.two_pass import two_pass_infer
from t2ui.model_lock import PLACE, locked
from t2ui.models.chat import chat_ids
from t2ui.models.likelihood import completion_logits, option_log_likelihoods
from t2ui.models.questions import Question
from t2ui.svf.adapter import adapt, attached
from t2ui.svf.expert import Expert
from t2ui.svf.mixture import Mixture

THREADS = 6
IDS = [prompt_ids(9, seed) for seed in range(2)]
LABELS = ("math", "code", "others")


@pytest.fixture
def experts(tiny_llama):
    names = matrix_names("llama")
    found = {
        name: Expert(name, random_scales(tiny_llama, names, seed=i + 1, spread=0.4))
        for i, name in enumerate(("a", "b", "c", "d"))
    }
    found["router"] = Expert(
        "router", random_scales(tiny_llama, names, seed=9), objective="dispatch", labels=LABELS
    )
    return found


@pytest.fixture
def llama(tiny_llama):
    with adapt(tiny_llama) as adapter:
        yield adapter


def in_threads(calls):
    """Results of the calls, run in THREADS threads that all begin at once."""
    begin = threading.Barrier(THREADS)
    with ThreadPoolExecutor(THREADS, initializer=begin.wait, initargs=(60,)) as pool:
        return list(pool.map(lambda call: call(), calls, timeout=240))


def asked_for(model, tokenizer, experts):
    """36 answers: base, single experts, mixtures and pass one, of several prompts."""
    mixtures = [Mixture(), Mixture({"a": 1.0}), Mixture({"b": 1.0}), Mixture({"c": 0.5, "d": 0.5})]
    mixtures += [Mixture({"d": -0.5}), None]
    sampling = Sampling(max_new_tokens=10)

    def call(prompt, mixture):
        return lambda: two_pass_infer(
            model, tokenizer, prompt, experts, mixture=mixture, sampling=sampling
        )

    return [call(f"Question {i}?", mixture) for i in range(6) for mixture in mixtures]


@pytest.mark.parametrize("is_held", [True, False])
def test_concurrent_answers_are_each_their_own_mixtures(
    tiny_llama, tiny_tokenizer, experts, is_held
):
    """Also where no adapter is held, and calls make one and take it off again."""
    before = logits(tiny_llama, IDS)
    calls = asked_for(tiny_llama, tiny_tokenizer, experts)
    wanted = [call() for call in calls]
    adapter = adapt(tiny_llama) if is_held else None
    found = in_threads(calls)
    for one, other in zip(found, wanted, strict=True):
        assert one.token_ids == other.token_ids
        assert one.probabilities == other.probabilities
    assert len({result.token_ids for result in wanted}) > 20, "mixtures that answer alike"
    assert torch.equal(logits(tiny_llama, IDS), before)
    assert attached(tiny_llama) is adapter
    if adapter:
        adapter.remove()
    assert not in_use(tiny_llama)


def in_use(model) -> bool:
    return PLACE in vars(model.get_input_embeddings())


def test_blocks_of_two_threads_do_not_mix(tiny_llama, llama, experts):
    wanted = {}
    for name in "abcd":
        with llama.applied(experts[name].scales):
            wanted[name] = logits(tiny_llama, IDS)

    def call(name, way):
        def run():
            scales = experts[name].scales
            inside = {
                "merged": lambda: llama.applied(scales, "merged"),
                "factored": lambda: llama.applied(scales),
                "rows": lambda: llama.rows([scales, scales]),
            }[way]
            for _ in range(5):
                with inside():
                    found = logits(tiny_llama, IDS)
                    with llama.disabled():  # again, by the same thread
                        logits(tiny_llama, IDS)
                    again = logits(tiny_llama, IDS)
                torch.testing.assert_close(found, wanted[name], atol=2e-3, rtol=1e-3)
                assert torch.equal(found, again)

        return run

    base = logits(tiny_llama, IDS)
    in_threads([call(n, way) for n in "abcd" for way in ("merged", "factored", "rows")])
    assert torch.equal(logits(tiny_llama, IDS), base)


def test_decoding_scoring_and_pass_one_run_beside_one_another(
    tiny_llama, tiny_tokenizer, llama, experts
):
    dispatcher = LabelReader(tiny_llama, tiny_tokenizer, llama)
    question = Question(tuple(prompt_ids(6)), ((5, 6), (7, 8, 9)))
    ids = chat_ids(tiny_tokenizer, "Hi")
    sampling = Sampling(max_new_tokens=8)

    def decode(scales):
        row = Row(0, ids, scales, sampling)
        return lambda: generate(tiny_llama, tiny_tokenizer, [row], llama)[0].token_ids

    def score(scales):
        def run():
            with torch.inference_mode(), llama.applied(scales):
                pieces = completion_logits(tiny_llama, ids, [5, 6], 100)
                with pytest.raises(StopIteration) as ended:  # the text is shorter than a piece
                    next(pieces)
                read = ended.value.value
                return option_log_likelihoods(tiny_llama, [question])[0].tolist(), read.tolist()

        return run

    def classify(expert):
        return lambda: dispatcher.classify("Hi", LABELS, expert).raw

    calls = [decode({}), decode(experts["a"].scales), decode(experts["b"].scales)]
    calls += [score({}), score(experts["c"].scales), classify(None), classify(experts["router"])]
    wanted = [call() for call in calls]
    assert in_threads(calls * 5) == wanted * 5


def test_without_an_adapter_threads_share_the_plain_model(tiny_llama, tiny_tokenizer):
    rows = [Row(0, prompt_ids(6, i), None, Sampling(max_new_tokens=8)) for i in range(18)]
    wanted = [greedy(tiny_llama, row.prompt_ids, 8) for row in rows]
    found = in_threads(
        [lambda row=row: generate(tiny_llama, tiny_tokenizer, [row], None) for row in rows]
    )
    assert [list(one.token_ids) for (one,) in found] == wanted
    assert not tiny_llama.lm_head._forward_pre_hooks


def test_a_thread_waits_for_the_others_block(tiny_llama, llama, experts):
    order, inside = [], threading.Event()

    def other():
        inside.wait(60)
        order.append("asks")
        with llama.applied(experts["b"].scales):
            order.append("gets")

    thread = threading.Thread(target=other)
    thread.start()
    with llama.applied(experts["a"].scales):
        inside.set()
        time.sleep(0.2)
        order.append("done")
    thread.join(60)
    assert order == ["asks", "done", "gets"]


def test_what_one_thread_sets_for_good_is_not_another_ones_block(tiny_llama, llama, experts):
    """`set` outside of a block waits for blocks, and is what remains behind them."""
    inside, entered = threading.Event(), threading.Event()

    def other():
        entered.wait(60)
        inside.set()
        llama.set(experts["b"].scales)

    thread = threading.Thread(target=other)
    thread.start()
    base = logits(tiny_llama, IDS)
    with llama.applied(experts["a"].scales):
        wanted = logits(tiny_llama, IDS)
        entered.set()
        inside.wait(60)
        time.sleep(0.1)
        assert torch.equal(logits(tiny_llama, IDS), wanted)
    thread.join(60)
    found = logits(tiny_llama, IDS)
    llama.reset()
    with llama.applied(experts["b"].scales):
        assert torch.equal(found, logits(tiny_llama, IDS))
    assert torch.equal(logits(tiny_llama, IDS), base)


# --- generators that hold a block open -----------------------------------------------------------


def pausing(llama, scales, ids):
    with llama.applied(scales):
        while True:
            yield logits(llama.model, ids)


def test_a_generator_may_be_closed_by_another_thread(tiny_llama, llama, experts):
    base = logits(tiny_llama, IDS)
    generator = pausing(llama, experts["a"].scales, IDS)
    next(generator)
    thread = threading.Thread(target=generator.close)
    thread.start()
    thread.join(60)
    assert torch.equal(logits(tiny_llama, IDS), base)
    assert not in_use(tiny_llama)
    in_threads([lambda: llama.reset()] * THREADS)


def test_a_block_that_an_ended_thread_left_open_is_one_clear_line(tiny_llama, llama, experts):
    generator = pausing(llama, experts["a"].scales, IDS)
    thread = threading.Thread(target=lambda: next(generator), name="careless")
    thread.start()
    thread.join(60)
    with pytest.raises(InputError, match="held by thread 'careless', which has ended"):
        llama.reset()
    generator.close()
    llama.reset()


def leaving(llama, scales, ids):
    """Yields inside the block, once, then leaves it."""
    with llama.applied(scales):
        yield logits(llama.model, ids)


def test_blocks_that_are_left_out_of_order_leave_nothing_and_say_so(tiny_llama, llama, experts):
    """Two generators of one thread, advanced in turns: the lock cannot keep them apart."""
    base = logits(tiny_llama, IDS)
    first, second = (
        leaving(llama, experts["a"].scales, IDS),
        pausing(llama, experts["b"].scales, IDS),
    )
    next(first)
    wanted = next(second)
    with pytest.raises(InputError, match="opened inside this one is still open"):
        next(first)
    assert torch.equal(next(second), wanted)
    second.close()
    assert torch.equal(logits(tiny_llama, IDS), base)


# --- the lock itself -----------------------------------------------------------------------------


def test_a_model_in_use_can_be_copied_and_the_copy_is_free(tiny_llama):
    with locked(tiny_llama):
        assert in_use(tiny_llama)
        other = copy.deepcopy(tiny_llama)
        (found,) = set(in_threads([lambda: takes(other)] * THREADS))
        assert found == "taken"
    assert not in_use(tiny_llama) and not in_use(other)


def takes(model) -> str:
    with locked(model):
        return "taken"


def test_a_model_and_what_is_around_it_share_one_lock(tiny_llama):
    around = torch.compile(tiny_llama, backend="eager")
    order = []

    def other():
        with locked(around), locked(tiny_llama.base_model):
            order.append("other")

    thread = threading.Thread(target=other)
    with locked(tiny_llama):
        thread.start()
        time.sleep(0.1)
        order.append("first")
    thread.join(60)
    assert order == ["first", "other"]


def test_others_are_refused_where_waiting_makes_no_sense(tiny_llama):
    with locked(tiny_llama, refusal="a LoRA is being trained on it"):
        assert takes(tiny_llama) == "taken"  # the same thread
        with pytest.raises(InputError, match="in use: a LoRA is being trained on it. Wait until"):
            in_threads([lambda: takes(tiny_llama)] * THREADS)
    assert in_threads([lambda: takes(tiny_llama)] * THREADS) == ["taken"] * THREADS
    assert not in_use(tiny_llama)


def test_an_error_inside_gives_the_model_back(tiny_llama):
    with pytest.raises(ZeroDivisionError), locked(tiny_llama), locked(tiny_llama):
        raise ZeroDivisionError
    gc.collect()
    assert in_threads([lambda: takes(tiny_llama)] * THREADS) == ["taken"] * THREADS
