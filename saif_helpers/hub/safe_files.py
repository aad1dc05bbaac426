"""Protection against code in downloaded files, with readable errors.

Pickles and Python files in model repositories could run code. The libraries that read the files
reject them too, but advise to disable that protection, or do not name the file.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pickle import UnpicklingError

from safetensors import SafetensorError

from saif_helpers._internal.errors import FileContentError


@contextmanager
def forbid_code_execution(what: str) -> Iterator[None]:
    """Read untrusted files, raising if one could run code.

    Args:
        what: What is being read: a repository, a release and an id, or a folder.

    Yields:
        Nothing.

    Raises:
        ValueError: If a file could run code, or does not have the format of its extension.
    """
    try:
        yield
    except (SafetensorError, UnpicklingError, ValueError) as error:
        reason = _reason(error)
        if reason is None:
            raise
        raise FileContentError(f"{what} {reason}", what) from None  # hides the library's advice


def _reason(error: Exception) -> str | None:
    if isinstance(error, SafetensorError):
        return (
            f"has a weights file that is not a safetensors file ({error}): it has another format, "
            "or its download was truncated. It was not opened; delete it and get it again from a "
            "source that you trust"
        )
    if isinstance(error, UnpicklingError) or "allow_pickle" in str(error):
        return (
            "keeps weights in a pickle (as torch.save does), which could run any code. It was not "
            "opened; use SAEs in safetensors files"
        )
    if "trust_remote_code" in str(error):
        return (
            "requires custom Python code (auto_map in its configuration), which is never run "
            "here; use a model whose code is part of transformers"
        )
    return None
