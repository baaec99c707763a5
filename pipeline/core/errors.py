"""The one exception that a user is meant to read."""


class InputError(Exception):
    """Something the user gave is wrong: a config key, a file, a download.

    The message is a single line that names the culprit and says what would be right. Every command line
    turns it into that line on stderr and exit status 2 (see ``pipeline.cli.common.run``).
    """
