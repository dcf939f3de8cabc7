"""The one exception for what a user can put right."""


class UserError(Exception):
    """A wrong input, setting or file; the message is one sentence with the cause and the remedy.

    The command line prints it without a traceback and exits with code 2.
    """


class FileError(UserError):
    """A file that can not be read or written: no fault of the method that was at work."""


def choose(kind: str, name: str, options) -> None:
    """Refuses a `name` that is not among `options`, listing what exists.

    Raises:
      UserError: `name` is unknown.
    """
    if name not in options:
        known = ", ".join(sorted(options))
        raise UserError(f"unknown {kind} {name!r}: choose one of {known}")
