"""Reads prompts in pieces, so that a long one holds up nobody and can be dropped at any time.

Several prompts are read together, each row with its own scales. Nothing is read twice: what all of
them begin with (a chat format, say) is read once for the rows that have the same scales, equal
prompts under equal scales once, and with scope "answer" a prompt is read once by the base model,
whatever the rows' scales, which then act from the prompt's tail on.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from transformers import PreTrainedModel

from t2ui.inference.prompt_store import PromptStore
from t2ui.inference.rows import Row, RunningRow
from t2ui.models.batch_cache import LEAST_ROOM, RoomyCache, padding_first, take
from t2ui.models.questions import shared_length
from t2ui.models.running import answering, cached, given_to_head
from t2ui.svf.adapter import Adapter, Scales, Setting

# Reading a shared beginning once costs a further forward pass: it pays from about this many tokens.
LEAST_SHARED = 8
# Prompts are read together up to so many times the shortest one's length, which counts as this at
# least.
MOST_TIMES, LEAST_ALIKE = 2, 32


class Reading:
    """Prompts being read together. Call `read` until `ended`; then its rows can join a batch.

    It goes in up to three stages: what all prompts begin with, one row for each of the scales; the
    rest, one row for each prompt and its scales; with scope "answer" the prompts' tails, every row
    under its own scales. Afterwards `cache`, `attention` (B, T) and `logits` (B, V) belong to
    `rows`, in their order.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        adapter: Adapter | None,
        rows: Sequence[RunningRow],
        base: Callable[[], AbstractContextManager[None]] | None = None,
        store: PromptStore | None = None,
        written: Callable[[Sequence[Scales | None]], Setting | None] = lambda _: None,
    ):
        """Without an adapter the rows run through the model as it is set at each call.

        Args:
            rows: `tails` says which may be read together; one with a draft is read alone.
            base: without an adapter, the block in which the base model reads what is before a
                tail.
            store: keeps what the base model alone has read, for readings to come.
            written: the setting of such scales with their W′, where that is written already.
        """
        self._written = written
        self._model, self._adapter, self._store = model, adapter, store
        self._base = adapter.disabled if adapter else (base or nullcontext)
        self.rows = list(rows)
        self.dropped: set[object] = set()  # keys that nobody waits for any more
        self.logits = torch.empty(0)
        # With a draft it is read as if it were the end of the prompt.
        self._draft = tuple(self.rows[0].draft) if len(self.rows) == 1 else ()
        (self._tail,) = tails(row.row for row in self.rows) or (0,)
        self._tail += len(self._draft) if self._tail else 0
        self._kept: list[Tensor] = []  # logits that predict the draft and what comes behind it
        # (B, hidden), and as above: what the logits were made of, where a row asks for it
        self.states: Tensor | None = None
        self._kept_states: list[Tensor] = []
        # Rollouts of one prompt differ only from their first token on: it is read once for all.
        place: dict[tuple, int] = {}
        self._place = [place.setdefault(self._read_as(r.row), len(place)) for r in self.rows]
        self._read_rows = [self.rows[self._place.index(i)].row for i in range(len(place))]
        self._distinct = list({id(self._reader(r)): r for r in self._read_rows}.values())
        self._shared = self._worth_sharing()
        self.attention = self._padded_attention()
        self.total = self.attention.shape[1]  # tokens of the longest prompt, draft included
        self.done = 0  # of them, read so far
        self._room = self.total + LEAST_ROOM  # of the cache: the answer follows
        self.cache = RoomyCache(self._room)
        self._setting: Setting | None = None
        self._take_from_store()
        if self.done == self._before_tail:  # all is kept, or all prompts are tails
            self._leave_prompts()

    @property
    def ended(self) -> bool:
        """Whether every prompt is read to its end."""
        return self.done == self.total

    @property
    def left(self) -> int:
        """Tokens that are still to be read, padding counted."""
        return (self.total - self.done) * len(self._read_rows)

    @property
    def keys(self) -> list[object]:
        """The rows' keys, dropped ones included."""
        return [r.row.key for r in self.rows]

    def read(self, tokens: int) -> int:
        """Read about so many tokens, of all rows together, and at least one of each.

        Returns:
            How many were read, padding counted.
        """
        read = self._read_piece(tokens)
        # A pass goes through all weights however little it reads: none for the rest of a division.
        while not self.ended and tokens - read >= max(tokens // 2, len(self.rows)):
            read += self._read_piece(tokens - read)
        return read

    def _read_piece(self, tokens: int) -> int:
        """One forward pass; how many tokens it read."""
        if self.done < self._shared:
            rows, end = self._distinct, self._shared
        elif self.done < self._before_tail:
            rows, end = self._read_rows, self._before_tail
        else:
            rows, end = [running.row for running in self.rows], self.total
        in_tail = self.done >= self._before_tail
        end = min(end, self.done + max(1, tokens // len(rows)))
        if self.done < self._shared:
            ids = torch.tensor([list(rows[0].prompt_ids[self.done : end])] * len(rows))
            attention = torch.ones(len(rows), end, dtype=torch.long)
        else:
            ids = torch.stack([self._columns(row, self.done, end) for row in rows])
            attention = self.attention[:, :end]
        read = (end - self.done) * len(rows)
        scales = [row.scales if in_tail else self._reader(row) for row in rows]
        keep = max(end - max(self.done, self.total - len(self._draft) - 1), 0)
        found = self._run(scales, ids, attention, keep, self._tail > 0 and not in_tail)
        if keep:
            logits, states = found
            self.logits = logits[:, -1]
            self._kept.append(logits[0])
            if states is not None:
                self.states = states[:, -1]
                self._kept_states.append(states[0])
        self.done = end
        if end == self._shared:
            self._leave_shared()
        if end == self._before_tail:
            self._leave_prompts()
        return read

    @property
    def predictions(self) -> Tensor:  # (draft + 1, V)
        """Once `ended`, of a row with a draft: the logits that predict each of its tokens, and the
        one behind it."""
        return torch.cat(self._kept)

    @property
    def predicting(self) -> Tensor | None:  # (draft + 1, hidden)
        """What `predictions` were made of, where the row asks for it."""
        return torch.cat(self._kept_states) if self._kept_states else None

    def keep(self, tokens: int) -> None:
        """Forget what was read of the draft but for its first tokens."""
        spare = len(self._draft) - tokens
        if spare:
            self.cache.crop(-spare)
            self.attention = self.attention[:, :-spare]

    def drop(self, keys: Collection[object]) -> bool:
        """Let rows go; whether any is left that somebody waits for."""
        self.dropped |= set(keys) & set(self.keys)
        return len(self.dropped) < len(self.rows)

    @property
    def _before_tail(self) -> int:
        """How many columns lie before the tails."""
        return max(self.total - self._tail, 0)

    def _reader(self, row: Row) -> Scales | None:
        """The scales under which a row's prompt is read up to its tail."""
        return None if row.tail else row.scales or None

    def _read_as(self, row: Row) -> tuple:
        """What rows must have in common to be read as one."""
        # A prompt's length says where its tail begins: two that end before it are still two.
        return tuple(self._head(row)), len(self._ids(row)), id(self._reader(row))

    def _take_from_store(self) -> None:
        """Begin behind what was kept of a single prompt, or with all heads where all are kept."""
        if self._store is None or not self._by_base_alone:
            return
        if len(self._read_rows) == 1:
            ids = self._ids(self._read_rows[0])
            unread = max(self._tail, len(self._draft) + 1)  # whose logits are wanted, at least
            length, cache = self._store.beginning(ids[: max(self.total - unread, 0)], self._room)
            if cache is not None:
                self.cache, self.done = cache, length
            return
        heads = [self._head(row) for row in self._read_rows] if self._tail else []
        if heads and (cache := self._store.whole(heads, self._room)) is not None:
            self.cache, self.done, self._shared = cache, self._before_tail, 0
            self.attention = self._padded_attention()

    @property
    def _by_base_alone(self) -> bool:
        """Whether the base model reads all prompts, up to their tails."""
        read = all(self._reader(row) is None for row in self._read_rows)
        return self._adapter is not None and read

    def _ids(self, row: Row) -> Sequence[int]:
        """All that is read of a row."""
        return [*row.prompt_ids, *self._draft] if self._draft else row.prompt_ids

    def _head(self, row: Row) -> Sequence[int]:
        """What is read of a row's prompt before its tail."""
        return self._ids(row)[: max(len(self._ids(row)) - self._tail, 0)]

    def _worth_sharing(self) -> int:
        """How many tokens at the beginning are read once, and not by every row; 0 for none."""
        rows = self._read_rows
        prompts = [self._ids(row) for row in rows]
        shared = min(shared_length(prompts), min(map(len, prompts)) - max(self._tail, 1))
        windowed = getattr(self._model.config.get_text_config(), "sliding_window", None) is not None
        # transformers counts a window in columns of the cache, and padding would lie in between
        if len(self._distinct) > len(rows) // 2 or shared < LEAST_SHARED or windowed:
            return 0
        return shared

    def _padded_attention(self) -> Tensor:  # (B, T)
        """1 for a token, 0 for the padding, which lies behind what is shared."""
        length = max(len(self._ids(row)) for row in self._read_rows)
        attention = torch.ones(len(self._read_rows), length, dtype=torch.long)
        for i, row in enumerate(self._read_rows):
            attention[i, self._shared : self._shared + length - len(self._ids(row))] = 0
        return attention

    def _columns(self, row: Row, start: int, end: int) -> Tensor:  # (end - start,)
        """A row's ids in these columns behind the shared ones; 0 where there is padding."""
        padding = self.total - len(self._ids(row))
        own = [0] * max(0, min(end, self._shared + padding) - start)
        first = max(start - padding, self._shared)
        return torch.tensor(own + list(self._ids(row)[first : first + end - start - len(own)]))

    def _leave_shared(self) -> None:
        """From one row for each of the scales to one for each prompt."""
        place = {id(self._reader(row)): i for i, row in enumerate(self._distinct)}
        take(self.cache, torch.tensor([place[id(self._reader(row))] for row in self._read_rows]))
        self._setting = None

    def _leave_prompts(self) -> None:
        """From one row for each prompt to the rows that were asked for."""
        if self._shared:  # the padding goes where others expect it
            read = padding_first(self.cache, self.attention[:, : self.done])
            self.attention = torch.cat([read, self.attention[:, self.done :]], dim=1)
        drafted = self._draft and not self._tail  # what was read is no prompt
        if self._store is not None and self._adapter is not None and self.done and not drafted:
            for place, row in enumerate(self._read_rows):
                if self._reader(row) is None:
                    self._store.put(self._head(row), self.cache, place)
        if len(self._read_rows) < len(self.rows):
            index = torch.tensor(self._place)
            if self.done:
                take(self.cache, index)
            self.attention = self.attention[index]
            if self.ended:
                self.logits = self.logits[index]
                self.states = None if self.states is None else self.states[index]
        self._setting = None

    def _run(
        self,
        scales: list[Scales | None],
        ids: Tensor,
        attention: Tensor,
        keep: int,
        by_base: bool,
    ) -> tuple[Tensor, Tensor | None]:
        """Logits (B, keep, V) behind the last tokens, and what they were made of, (B, keep,
        hidden), where a row asks for it; `attention` is of the cache and of `ids`."""
        if self._adapter is None:
            with self._base() if by_base else nullcontext():
                return self._forward(ids, attention, keep)
        with self._adapter.kept():
            if self._setting is None:  # S ⊙ z is cast and gathered once, not for every piece
                self._adapter.set_rows(scales, self._written(scales))
                self._setting = self._adapter.current()
            else:
                self._adapter.restore(self._setting)
            return self._forward(ids, attention, keep)

    def _forward(self, ids: Tensor, attention: Tensor, keep: int) -> tuple[Tensor, Tensor | None]:
        device = self._model.device
        # the output head, a fifth of a small model's weights, is not read for nothing
        last = keep or torch.empty(0, dtype=torch.long, device=device)
        positions = (attention.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        asked = keep > 0 and any(running.row.states for running in self.rows)
        with answering(self._model), given_to_head(self._model, asked) as given:
            logits = self._model(
                input_ids=ids.to(device),
                attention_mask=attention.to(device),
                position_ids=positions.to(device),
                **cached(self._model, self.cache),
                use_cache=True,
                logits_to_keep=last,
            ).logits
        return logits, given[-1] if given else None


def of_like_length(rows: Sequence[RunningRow]) -> list[list[RunningRow]]:
    """Rows divided into those that are worth reading together: all of a reading are padded to the
    longest. In each the order is that of `rows`."""
    groups: list[list[RunningRow]] = []
    longest = 0
    for running in sorted(rows, key=lambda one: len(one.row.prompt_ids)):
        if not groups or len(running.row.prompt_ids) > longest:
            groups.append([])
            longest = MOST_TIMES * max(len(running.row.prompt_ids), LEAST_ALIKE)
        groups[-1].append(running)
    place = {id(running): number for number, running in enumerate(rows)}
    return [sorted(group, key=lambda one: place[id(one)]) for group in groups]


def tails(rows: Iterable[Row]) -> tuple[int, ...]:
    """The tails that the scales of some rows act from, the shortest first. Rows with different
    ones cannot be read together; those of scope "all" go with any."""
    return tuple(sorted({row.tail for row in rows if row.tail}))
