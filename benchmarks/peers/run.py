"""The peers that can be had on this machine."""

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
    """Prepare the peers that can be had.

    Args:
        work: What they will be asked for.

    Yields:
        The peers; and name to reason of those that cannot.
    """
    there, missing = [], {}
    for kind in PEERS:
        try:
            there.append(kind(work))
        except Exception as error:  # whatever a peer's library makes of this model
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
    """Check that ways agree, and leave out peers that fail.

    Args:
        ways: Work and way to what is to be timed.
        checks: The same to what runs it once and says whether it agrees.
        missing: Peers that are not there, and why.
        works: Works that these would have done.

    Returns:
        The ways that can be timed; and the notes of all, also of those that cannot.
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
