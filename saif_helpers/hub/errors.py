"""Readable errors for failed downloads and damaged files."""

from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from saif_helpers.hub.safe_files import forbid_code_execution


@contextmanager
def readable_hub_errors(what: str) -> Iterator[None]:
    """Convert errors of downloads and files to messages that say what to do.

    Args:
        what: What is being loaded: a repository, or a release and an id.

    Yields:
        Nothing.

    Raises:
        OSError: In place of the various errors of a failed download.
        ValueError: As `safe_files.forbid_code_execution`.
    """
    try:
        with forbid_code_execution(what):
            yield
    except (OSError, HfHubHTTPError) as error:
        advice = _advice(what, list(_causes(error)))
        if advice is None:
            raise
        raise OSError(advice) from None  # hides the request, which contains the token


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its chain of causes."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        error = error.__cause__ or error.__context__


def _advice(what: str, causes: list[BaseException]) -> str | None:
    """Return advice for causes that the user can fix, or None."""

    def due_to(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in causes)

    repo_id = "/".join(what.split("/")[:2])
    if due_to(GatedRepoError):
        return (
            f"{what} is only available once you have accepted its licence. 1. Accept it on "
            f"https://huggingface.co/{repo_id} while logged in. 2. Create a token with read access "
            "on https://huggingface.co/settings/tokens. 3. On Colab: click the key on the left, "
            "add the token as HF_TOKEN and allow this notebook; elsewhere: run `hf auth login`. "
            "4. Run this cell again."
        )
    if due_to(RepositoryNotFoundError):
        return (
            f"{what} does not exist, or is private and no token for it was given; check the name, "
            "or add the token as HF_TOKEN (on Colab: the key on the left)"
        )
    if due_to(LocalEntryNotFoundError, OfflineModeIsEnabled, ConnectionError):
        return (
            f"{what} is not on this machine and the Hugging Face Hub cannot be reached; connect "
            "to the network, unset HF_HUB_OFFLINE, or use load('organism'), which needs none"
        )
    return None
