"""The tools: typed functions on a worker's client. Their texts are what an agent reads."""

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Annotated, Literal, TypeVar

from pydantic import Field

from t2ui import messages
from t2ui.config import AnswerSettings, FewShotConfig, Sampling
from t2ui.errors import InputError
from t2ui.http.mcp import results
from t2ui.messages import AnswerSoFar, Ask, Component, ComponentData, Failed, Heatmap, HeatmapData
from t2ui.ui.shared.listen import Client, answer, follow, listed, listen

Found = TypeVar("Found")
Progress = Callable[[float, float, str], Awaitable[None]]  # done, of, in words

SHORT_SECONDS = 120.0  # that a look into an expert may wait
MOST_EXAMPLES = 40
MOST_ROWS = 24

Prompt = Annotated[str, Field(description="The question or instruction.")]
Coefficients = Annotated[
    dict[str, float] | None,
    Field(
        description="Coefficient by expert, e.g. {'math': 0.7, 'code': 0.3}; 0 is the base model, "
        "1 the expert as trained, and anything from -1 to 2 can be worth a try. Leave it out to "
        "let pass one choose."
    ),
]
Saved = Annotated[str, Field(description="The name of a saved mixture, in place of coefficients.")]
Dispatcher = Annotated[
    str, Field(description="How pass one is run, one of the dispatchers of list_experts.")
]
Beside = Annotated[bool, Field(description="Whether the base model answers, too.")]
Tokens = Annotated[int, Field(description="At most so many tokens.", ge=1, le=512)]
Temperature = Annotated[float, Field(description="0 is greedy.", ge=0, le=2)]
Seed = Annotated[int, Field(description="The same seed gives the same answer.", ge=0)]
Scope = Annotated[
    Literal["", "all", "answer"],
    Field(
        description="Which tokens the mixture acts on: all of them, or the answer's alone; empty: "
        "as its experts were trained."
    ),
]
Examples = Annotated[
    list[tuple[str, str]],
    Field(
        description="Pairs of a prompt and its right answer, as the model is to write it.",
        min_length=3,
        max_length=MOST_EXAMPLES,
    ),
]
Expert = Annotated[str, Field(description="An expert's name, see list_experts.")]
By = Annotated[
    Literal["matrix", "layer", "kind"],
    Field(description="What a row is: a matrix, all of a layer, or all of a kind (q, k, v …)."),
]


class ToolFailed(Exception):
    """What a tool cannot do: one line that says why, and what to do."""


async def list_experts(client: Client) -> results.Library:
    """List the experts, the saved mixtures, and the labels that pass one can find."""
    found = _there(client)
    return results.Library(
        client.status().model,
        [
            results.ExpertEntry(
                one.name, one.description, list(one.labels), one.parameters, one.sha256
            )
            for one in found.experts
            if one.kind == "expert"
        ],
        list(found.mixtures),
        list(found.labels),
        list(found.dispatchers),
        found.dispatch,
    )


async def ask(
    client: Client,
    prompt: Prompt,
    mixture: Coefficients = None,
    saved: Saved = "",
    dispatcher: Dispatcher = "",
    beside_base: Beside = False,
    max_new_tokens: Tokens = Sampling.max_new_tokens,
    temperature: Temperature = Sampling.temperature,
    seed: Seed = Sampling.seed,
    scope: Scope = "",
) -> results.Answer:
    """Answer a prompt with a mixture of experts, or with the one that pass one chooses.

    Without a mixture the model first sorts the prompt (pass one) and then answers with the expert
    for that kind; what it found comes back with the answer.
    """
    sampling = Sampling(max_new_tokens, temperature, seed=seed)
    asked = Ask(
        prompt,
        mixture or None,
        dispatcher,
        sampling=sampling,
        compare=beside_base,
        whole=True,
        saved=saved,
        scope=scope or AnswerSettings.scope,
    )
    job, so_far = client.submit(asked), AnswerSoFar()
    async with aclosing(follow(job)) as batches:
        async for batch in batches:
            for event in batch:
                so_far = so_far.after(event)
    if so_far.failed:
        raise ToolFailed(str(so_far.failed))
    found, mixed = so_far.classified, so_far.mixed
    if mixed is None:
        raise ToolFailed("The answer was stopped before it began: ask again.")
    return results.Answer(
        so_far.adapted.text,
        so_far.base.text if beside_base else None,
        found.label if found else None,
        dict(found.probabilities) if found else {},
        dict(mixed.mixture),
        mixed.set_by,
        mixed.scope,
        mixed.note,
        job.id,
    )


async def adapt(client: Client, examples: Examples, progress: Progress) -> results.Adapted:
    """Search the mixture of experts that fits some examples best (few-shot adaptation).

    Takes from seconds to minutes. Give the mixture that it finds to `ask`.
    """
    search = messages.Adapt(tuple(map(tuple, examples)), FewShotConfig.preset("light"))  # type: ignore[arg-type]
    found: messages.Adapted | None = None
    async with aclosing(listen(client, search)) as batches:
        async for batch in batches:
            for event in batch:
                if isinstance(event, Failed):
                    raise ToolFailed(str(event))
                if isinstance(event, messages.Generation):
                    words = f"generation {event.number}, best score {event.best:.3g}"
                    await progress(event.number, search.config.generations, words)
                if isinstance(event, messages.Adapted):
                    found = event
    if found is None:
        raise ToolFailed("The search was stopped before it found anything: start it again.")
    return results.Adapted(
        found.mixture, found.set_by, found.report, found.before, found.after, found.seconds
    )


async def look_into_expert(client: Client, expert: Expert, by: By = "kind") -> results.Changes:
    """See where an expert changes the model: by matrix, by layer, or by kind of matrix."""
    _check_expert(client, expert)
    data = await _short(client, Heatmap({expert: 1.0}, rows=by), HeatmapData)
    pairs = zip(data.names, data.mean_abs.tolist(), strict=True)
    rows = sorted((results.ChangedRow(*pair) for pair in pairs), key=lambda r: -r.mean_change)
    return results.Changes(expert, data.rows, rows[:MOST_ROWS], max(0, len(rows) - MOST_ROWS))


async def look_into_matrix(
    client: Client,
    expert: Expert,
    matrix: Annotated[str, Field(description="A matrix's full name, see look_into_expert.")],
) -> results.MatrixChanges:
    """See which singular values of one matrix an expert moves most, and by how much."""
    _check_expert(client, expert)
    data = await _short(client, Component(matrix, {expert: 1.0}), ComponentData)
    values = [
        results.ChangedValue(place, float(data.sigma[place]), float(data.z[place]))
        for place in data.top
    ]
    return results.MatrixChanges(expert, data.name, list(data.shape), values)


async def _short(client: Client, request: messages.Request, kind: type[Found]) -> Found:
    """The one event that answers a short request.

    Raises:
        ToolFailed: the worker could not answer.
    """
    found = await answer(client, request, kind, SHORT_SECONDS)
    if isinstance(found, Failed):
        raise ToolFailed(str(found))
    return found


def _there(client: Client) -> messages.Experts:
    found = listed(client)
    if found is None:
        raise ToolFailed("The model is loading: ask again in a few seconds.")
    if isinstance(found, Failed):
        raise ToolFailed(str(found))
    return found


def _check_expert(client: Client, name: str) -> None:
    """
    Raises:
        InputError: there is no such expert.
    """
    names = [one.name for one in _there(client).experts]
    if name not in names:
        raise InputError(f"There is no expert {name!r}; there are: {', '.join(names) or 'none'}.")
