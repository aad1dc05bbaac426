"""Alternatives to this package, each used as its own documentation shows.

A peer that is not installed raises `Unavailable`, whose message becomes the note of a row. This
package requires two of the peers: transformers, and SAE-Lens with TransformerLens' bridge. Install
the others into the environment that runs the benchmarks::

    pip install --no-deps steering-vectors
    pip install scikit-learn
    pip install --no-deps --target .venv-bench/nnterp nnterp "nnsight<0.8" astor bidict
    pip install --no-deps --target .venv-bench/nnterp python-socketio python-engineio
    pip install --no-deps --target .venv-bench/nnterp simple-websocket wsproto

    CMAKE_ARGS=-DGGML_NATIVE=OFF pip install --no-deps llama-cpp-python diskcache

Without ``--no-deps``, steering-vectors would downgrade transformers to a version before 5, although
it works with 5. nnterp 1.3.0 cannot be imported with nnsight 0.8, which this package needs
(nnsight.intervention.tracing was removed). It therefore gets an older nnsight in the folder
``nnterp`` of the environment (here ``.venv-bench``), and a separate process; see `nnterp_process`.
"""


class Unavailable(Exception):  # noqa: N818 (nothing went wrong)
    """Raised if a peer is not installed or does not support a task; the message says why."""


def reason(error: Exception) -> str:
    """Return in one line why a peer cannot do a task.

    Args:
        error: The exception that it raised.

    Returns:
        The message of `Unavailable`; for any other error, that the peer failed, and the error.
    """
    if isinstance(error, Unavailable):
        return str(error)
    lines = str(error).strip().splitlines() or ["no message"]
    return f"fails: {type(error).__name__}: {lines[-1]}"
