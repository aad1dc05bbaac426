"""What a user would pick instead of this package, each used as its own documentation shows.

A peer that is not installed raises `Unavailable`, whose message becomes a row's note. Two come with
this package's own requirements, transformers and SAE-Lens with TransformerLens' bridge. The others
are installed into the environment that runs the benchmarks::

    pip install --no-deps steering-vectors
    pip install scikit-learn
    pip install --no-deps --target .venv-bench/nnterp nnterp "nnsight<0.8" astor bidict
    pip install --no-deps --target .venv-bench/nnterp python-socketio python-engineio
    pip install --no-deps --target .venv-bench/nnterp simple-websocket wsproto

Without ``--no-deps``, steering-vectors would replace transformers by a version before 5, although
it works with 5. nnterp 1.3.0 cannot be imported with the nnsight 0.8 that this package needs
(nnsight.intervention.tracing is gone), so it gets an older one in the folder ``nnterp`` of the
environment (here ``.venv-bench``), and a process of its own; see `nnterp_process`.
"""


class Unavailable(Exception):  # noqa: N818 (nothing went wrong)
    """A peer is not installed, or cannot do what was asked; the message says why."""


def reason(error: Exception) -> str:
    """Say in one line why a peer cannot do something.

    Args:
        error: What it raised.

    Returns:
        The message of `Unavailable`; of any other error that it failed, and how.
    """
    if isinstance(error, Unavailable):
        return str(error)
    lines = str(error).strip().splitlines() or ["no message"]
    return f"fails: {type(error).__name__}: {lines[-1]}"
