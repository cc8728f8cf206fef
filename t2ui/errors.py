"""The one error a person can cause, and how to know the one that a small machine causes."""


class InputError(ValueError):
    """Bad input: one line that says what was got, what was expected, and what to do.

    The command line prints it without a traceback and exits with status 2; the app shows it as a
    toast or beside the field. Everything else that is raised is a bug and keeps its traceback.
    """


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
