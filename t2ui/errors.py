"""The one error a person can cause."""


class InputError(ValueError):
    """Bad input: one line that says what was got, what was expected, and what to do.

    The command line prints it without a traceback and exits with status 2; the app shows it as a
    toast or beside the field. Everything else that is raised is a bug and keeps its traceback.
    """
