"""Rows from a generator of reasoning_gym, typed where rows are pasted: "rg:gcd:max_value=50 24".

They are made in a process of their own, beside the worker, for one person at a time.
"""

import asyncio
import re
import threading

from t2ui.errors import InputError, quoted
from t2ui.generators.named import FAMILY, sample_rows
from t2ui.ui.shared.examples import MAX_CHARS, MAX_ROWS, Row

USUAL = 12  # rows, where no number is given
SECONDS = 60.0  # that making them may take
_TYPED = re.compile(r"(rg:\S+)(?:\s+(\d{1,9}))?")


def names_a_generator(text: object) -> bool:
    """Whether a pasted text asks for rows, instead of holding them."""
    return isinstance(text, str) and text.strip().startswith(FAMILY)


class MadeRows:
    """Makes rows for an app's visitors, one after the other.

    Args:
        public: strangers' settings, and a class's, start no processes here.
    """

    def __init__(self, public: bool):
        self.public = public
        self._making = threading.Lock()

    async def rows(self, text: str) -> list[Row]:
        """Rows of the generator that a text names, the first that no training reads.

        Raises:
            InputError: what `sample_rows` raises, rows that the page does not take, a public app,
                or somebody else's are being made.
        """
        typed = _TYPED.fullmatch(text.strip())
        if typed is None:
            raise InputError(
                f"{quoted(text.strip()[:80])} names no generator; expected e.g. "
                "rg:gcd:max_value=50, and perhaps a number of rows."
            )
        if self.public:
            raise InputError("A public app, or a workshop, makes no rows: paste or upload some.")
        count = int(typed[2] or USUAL)
        if not 1 <= count <= MAX_ROWS:
            raise InputError(f"{count} rows were asked for; 1 to {MAX_ROWS} fit.")
        if not self._making.acquire(blocking=False):
            raise InputError("Rows are being made for somebody else: add yours in a moment.")
        try:
            found = await asyncio.to_thread(sample_rows, typed[1], count, SECONDS)
        finally:
            self._making.release()
        long = max(len(part) for row in found for part in row)
        if long > MAX_CHARS:
            raise InputError(
                f"{typed[1]} makes prompts of {long:,} characters; at most {MAX_CHARS:,} fit: "
                "choose smaller settings."
            )
        return found
