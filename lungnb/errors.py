"""The one error a user is meant to read."""


class UserError(ValueError):
    """What the user gave cannot be used.

    The message is one sentence that names the file (and line), what is wrong there, and the mend. The command line
    prints it without a traceback.
    """
