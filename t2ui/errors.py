"""The one error a person can cause, and how to know the one that a small machine causes."""

import reprlib

MOST_QUOTED = 200  # characters of what was sent that a message repeats


class InputError(ValueError):
    """Bad input: one line that says what was got, what was expected, and what to do.

    The command line prints it without a traceback and exits with status 2; the app shows it as a
    toast or beside the field. Everything else that is raised is a bug and keeps its traceback.
    """


def quoted(value: object) -> str:
    """What was sent, as messages quote it: as Python writes it, at most 200 characters of it.

    Half characters and control characters come out escaped, so that every message can be printed.
    """
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = MOST_QUOTED + 1
    short.maxlist = short.maxtuple = short.maxdict = 20
    if isinstance(value, str):  # cut first: half of it would be made readable for nothing
        text = repr(value[: MOST_QUOTED + 1])
    else:
        text = short.repr(value)
    return text if len(text) <= MOST_QUOTED else f"{text[: MOST_QUOTED - 1]}…"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, the device's or the machine's."""
    # by name and text: CUDA, MPS and the CPU allocator agree on neither a class nor a module
    text = str(error).lower()
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or isinstance(error, RuntimeError)
        and ("out of memory" in text or "can't allocate memory" in text)
    )
