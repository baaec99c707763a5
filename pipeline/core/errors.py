"""The exception for errors that the user can fix."""


class InputError(Exception):
    """An input from the user is invalid: a setting, a file or a download.

    The message is a single line that names the input at fault and says what would be valid. Every command prints it to
    stderr and exits with status 2 (``pipeline.cli.common.run``).
    """
