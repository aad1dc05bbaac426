"""The sweeps of ``make soak``: started, killed, and compared with an undisturbed one."""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from typing import NamedTuple

from saif_helpers.cache import entry as entries
from saif_helpers.cache.store import Store
from tools.disturb import PAGE, TIME_LIMIT, exit_code, starter
from tools.soak_sweep import Sizes, sweep


class BrokenError(Exception):
    """Raised if a guarantee is violated."""


class Amounts(NamedTuple):
    """Numbers of kills, in total and per sweep (on average), and of the other rounds.

    For each kind of damage, `cases` entries are looked up one by one, and each damaged store has
    `damaged_alike` of them.
    """

    kills: int = 200
    kills_a_sweep: int = 25
    disks: int = 10
    at_once: int = 10
    cases: int = 1000
    damaged_stores: int = 10
    damaged_alike: int = 2


@dataclass(frozen=True)
class Run:
    """A sweep in a separate process.

    Attributes:
        process: The process.
        result: File of its final table.
        log: File of its log.
    """

    process: BaseProcess
    result: Path
    log: Path

    def told(self, what: str) -> list[str]:
        """Return the logged values of one kind of event, such as the names of stored files."""
        return [more for _, event, more in self.events() if event == what]

    def kept(self) -> list[str]:
        """Return the names of the entries that the sweep stored."""
        return [name for name in self.told("kept") if name.endswith(".safetensors")]

    def events(self) -> Iterator[tuple[float, str, str]]:
        """Yield the time, kind and value of each logged event."""
        for line in self.log.read_text().splitlines() if self.log.exists() else []:
            at, event, *more = line.split(" ", 2)
            yield float(at), event, "".join(more)


@dataclass
class Soak:
    """The state of a soak: an undisturbed sweep, the runs to compare with it, and the figures.

    Attributes:
        folder: Folder of the stores, tables and logs.
        sizes: Sizes of the sweep.
        amounts: Numbers of rounds and faults.
        draw: Random generator of all random choices.
        figures: Counts by name, each with its unit.
    """

    folder: Path
    sizes: Sizes
    amounts: Amounts
    draw: Random
    figures: dict[str, dict] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Run the sweep undisturbed; the first run loads the modules that the processes share."""
        self.numbers = count()
        self._start = starter(["tools.soak_sweep", "tools.soak_model"])
        for name in ("first", "undisturbed"):
            started = time.time()
            self.store = self.folder / name
            run = self.run(self.store)
            self.ended(run)
        begun = [at for at, event, _ in run.events() if event == "begun"]
        self.start_up, self.work = begun[0] - started, begun[-1] - begun[0]
        self.table, self.batches = run.result.read_bytes(), len(begun)
        check(len(Store(self.store)) == self.batches, "not every batch is stored")
        self.tell("batches of the sweep", self.batches, "batches")
        self.tell("size of its store", Store(self.store).size(), "bytes")

    def tell(self, name: str, value: int, unit: str) -> None:
        """Record a figure."""
        self.figures[name] = {"value": value, "unit": unit}

    def run(self, store: Path, full_after: int | None = None) -> Run:
        """Start a sweep; see `soak_sweep.sweep`."""
        number = next(self.numbers)
        result, log = self.folder / f"table-{number}", self.folder / f"log-{number}"
        return Run(self._start(sweep, store, result, log, self.sizes, full_after), result, log)

    def finish(self, run: Run) -> Run:
        """Wait for a run to end, and check that its table equals the undisturbed one."""
        self.ended(run)
        check(run.result.read_bytes() == self.table, "a final table differs")
        return run

    def ended(self, run: Run) -> None:
        """Check that a run ends successfully."""
        code = exit_code(run.process)
        check(code is not None, f"a run did not end within {TIME_LIMIT} seconds: {run.log}")
        check(code == 0, f"a run ended with code {code}: {run.log}")

    def maybe_killed(self, store: Path, landed: int) -> Run:
        """Run a sweep; kill it at a random moment unless enough sweeps have been killed."""
        run = self.run(store)
        if landed < self.amounts.kills:
            latest = self.start_up + 3 * self.work / self.amounts.kills_a_sweep
            run.process.join(self.draw.uniform(0, latest))
            run.process.kill()
        exit_code(run.process)
        return run

    def whole_entries(self, store: Path, finished: list[str]) -> int:
        """Check that every entry is valid and no finished one is missing; return their number."""
        there = set()
        for path in store.glob("*/*.safetensors"):
            there.add(path.name)
            try:
                entries.unpack(path.read_bytes())
            except ValueError as error:
                raise BrokenError(f"{path}: {error}") from error
        check(there >= set(finished), "a finished entry is gone")
        return len(there)

    def fresh(self) -> Path:
        """Create an empty folder."""
        return Path(tempfile.mkdtemp(dir=self.folder))

    def pages(self) -> int:
        """Return the number of pages that a finished store needs on a small disk."""
        return sum(-(-path.stat().st_size // PAGE) for path in self.store.glob("*/*"))


def check(holds: bool, otherwise: str) -> None:
    """Raise `BrokenError` with a message unless the condition holds."""
    if not holds:
        raise BrokenError(otherwise)
