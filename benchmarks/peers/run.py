"""The peers that are available on this machine."""

import contextlib
from collections.abc import Callable, Iterator, Mapping

from benchmarks.peers import reason
from benchmarks.peers.with_bridge import Bridge
from benchmarks.peers.with_nnterp import Nnterp
from benchmarks.peers.with_steering_vectors import SteeringVectors
from benchmarks.peers.work import Work
from benchmarks.timing import Named

PEERS = (SteeringVectors, Nnterp, Bridge)
Peer = SteeringVectors | Nnterp | Bridge


@contextlib.contextmanager
def peers_of(work: Work) -> Iterator[tuple[list[Peer], dict[str, str]]]:
    """Prepare the available peers.

    Args:
        work: The task.

    Yields:
        The available peers, and the reasons for the unavailable ones by name.
    """
    there, missing = [], {}
    for kind in PEERS:
        try:
            there.append(kind(work))
        except Exception as error:  # a peer's library may raise anything for this model
            missing[kind.name] = reason(error)
    try:
        yield there, missing
    finally:
        for peer in there:
            if isinstance(peer, Nnterp):
                peer.close()


def those_that_run(
    ways: Mapping[Named, Callable[[], object]],
    checks: Mapping[Named, Callable[[], str]],
    missing: Mapping[str, str],
    works: list[str],
) -> tuple[dict[Named, Callable[[], object]], dict[Named, str]]:
    """Check that methods agree, and omit peers that fail.

    Args:
        ways: Functions to time, by task and method.
        checks: Functions that run each once and return a note on its agreement.
        missing: Unavailable peers, and the reasons.
        works: Tasks of the unavailable peers.

    Returns:
        The functions that can be timed, and the notes of all, including those that cannot.
    """
    names = {kind.name for kind in PEERS}
    runs, notes = dict(ways), {}
    for key, check in checks.items():
        try:
            notes[key] = check()
        except Exception as error:
            if key[1] not in names:  # the package itself, or plain transformers
                raise
            notes[key] = reason(error)
            del runs[key]
    notes |= {(work, name): why for work in works for name, why in missing.items()}
    return runs, notes
