"""The peers that can be had on this machine."""

import contextlib
from collections.abc import Iterator

from benchmarks.peers import Unavailable
from benchmarks.peers.with_bridge import Bridge
from benchmarks.peers.with_nnterp import Nnterp
from benchmarks.peers.with_steering_vectors import SteeringVectors
from benchmarks.peers.work import Work

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
        except Unavailable as error:
            missing[kind.name] = str(error)
    try:
        yield there, missing
    finally:
        for peer in there:
            if isinstance(peer, Nnterp):
                peer.close()
