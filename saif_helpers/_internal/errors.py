"""Errors that name what was wrong in a field, so that callers need not parse the message.

Both are a ValueError, which is what the public functions document.
"""


class ArgumentError(ValueError):
    """Raised for an invalid argument.

    Attributes:
        argument: Name of the argument, such as ``"k"`` or ``"layers[1]"``.
    """

    def __init__(self, message: str, argument: str = "") -> None:
        """Create the error; the message comes first, so that it can be pickled."""
        super().__init__(message)
        self.argument = argument


class FileContentError(ValueError):
    """Raised for a file, folder or repository with invalid contents.

    Attributes:
        path: The file, folder or repository.
    """

    def __init__(self, message: str, path: object = "") -> None:
        """Create the error; the message comes first, so that it can be pickled."""
        super().__init__(message)
        self.path = str(path)
