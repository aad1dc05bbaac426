"""The rounds of ``make soak``: faults injected into sweeps, and the checks that follow."""

import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from shutil import copytree
from signal import SIGKILL

import torch
from tqdm import tqdm

from saif_helpers.cache import entry as entries
from saif_helpers.cache.store import Store
from tools.disturb import DAMAGES, damaged, exit_code, small_disk
from tools.soak_runs import Soak, check

FOLDER = "a folder"


def kills(soak: Soak) -> None:
    """Kill sweeps at random moments and restart them until they finish."""
    landed, sweeps, computed = 0, 0, 0
    moments: Counter[str] = Counter()
    quarters: Counter[int] = Counter()
    with tqdm(total=soak.amounts.kills, desc="kills") as bar:
        while landed < soak.amounts.kills:
            store, names, here, begun = soak.fresh(), [], 0, 0
            while (run := soak.maybe_killed(store, landed)).process.exitcode == -SIGKILL:
                names += run.kept()
                begun += len(run.told("begun"))
                n_kept = soak.whole_entries(store, names)
                events = [e for _, e, _ in run.events() if e in ("begun", "kept")]
                moments[events[-1] if events else "started"] += 1
                quarters[min(3, 4 * n_kept // soak.batches)] += 1
                here, landed = here + 1, landed + 1
                bar.update()
            names += soak.finish(run).kept()
            begun += len(run.told("begun"))
            check(len(set(names)) == len(names), "a finished batch was recomputed")
            check(begun <= soak.batches + here, "more batches than those in flight were recomputed")
            sweeps, computed = sweeps + 1, computed + begun
    soak.tell("kills", landed, "kills")
    soak.tell("kills while a run started or read its store", moments["started"], "kills")
    soak.tell("kills while a batch was computed or written", moments["begun"], "kills")
    soak.tell("kills after a batch was kept, before the next", moments["kept"], "kills")
    fewest = min(quarters[number] for number in range(4))
    soak.tell("kills in the quarter of the sweep with fewest", fewest, "kills")
    soak.tell("sweeps killed and ended", sweeps, "sweeps")
    soak.tell("batches that undisturbed sweeps compute", sweeps * soak.batches, "batches")
    soak.tell("batches that killed sweeps computed", computed, "batches")
    soak.tell("batches lost", computed - sweeps * soak.batches, "batches")


def full_disks(soak: Soak) -> None:
    """Fill the disk at a random point of the sweep, then free space and run it again."""
    kept = lost = 0
    mount = soak.fresh()
    with small_disk(mount) as resize:
        for _ in tqdm(range(soak.amounts.disks), desc="full disks"):
            store = (mount if resize else soak.folder) / f"store-{next(soak.numbers)}"
            if resize:
                resize(soak.draw.randint(1, soak.pages() - 1))
                run = soak.finish(soak.run(store))
            else:
                full_after = soak.draw.randrange(soak.batches)
                run = soak.finish(soak.run(store, full_after))
            said = [text for text in run.told("warning") if "cannot be stored" in text]
            check(len(said) == 1, f"{len(said)} warnings about a full disk, not one")
            n_kept = soak.whole_entries(store, run.kept())
            check(not list(store.rglob("*.tmp")), "a full disk left a partial file")
            if resize:
                resize(2 * soak.pages())
            run = soak.finish(soak.run(store))
            again = len(run.told("begun"))
            check(
                again == soak.batches - n_kept, "a batch stored before the disk was full was lost"
            )
            kept, lost = kept + n_kept, lost + again
            Store(store).clear()
            check(not list(store.rglob("*.*")), "clear left files behind")
    soak.tell("full disks", soak.amounts.disks, "rounds")
    soak.tell("batches kept before the disk was full", kept, "batches")
    soak.tell("batches computed again with room on it", lost, "batches")
    how = "a tmpfs of random size" if resize else "an error planted in os.fsync"
    soak.figures["full disks"]["how"] = how


def two_at_once(soak: Soak) -> None:
    """Run two sweeps on one store at the same time; kill one of them in every second round."""
    killed = computed = 0
    for number in tqdm(range(soak.amounts.at_once), desc="two at once"):
        store = soak.fresh()
        first = soak.run(store)
        time.sleep(soak.draw.uniform(0, soak.start_up))
        second = soak.run(store)
        if number % 2:
            second.process.join(soak.draw.uniform(0, soak.start_up + soak.work))
            second.process.kill()
            killed += exit_code(second.process) == -SIGKILL
            soak.finish(first)
        else:
            ended = [soak.finish(run) for run in (first, second)]
            computed += sum(len(run.told("begun")) for run in ended) - soak.batches
        check(soak.whole_entries(store, first.kept()) == soak.batches, "entries are missing")
        third = soak.finish(soak.run(store))
        check(not third.told("begun"), "a batch that two runs had stored was recomputed")
    soak.tell("rounds of two at once", soak.amounts.at_once, "rounds")
    soak.tell("rounds in which one of the two was killed", killed, "rounds")
    soak.tell("batches that both computed", computed, "batches")


def damage(soak: Soak) -> None:
    """Damage entries in every way, look them up, and run sweeps on stores with several of them."""
    originals = sorted(soak.store.glob("*/*.safetensors"))
    canary = soak.folder / "canary"
    harmless = again = 0
    for kind in tqdm(DAMAGES, desc="damage"):
        for _ in range(soak.amounts.cases):
            path = soak.draw.choice(originals)
            broken = damaged(path.read_bytes(), kind, soak.draw, canary)
            harmless += looked_up(soak, path, broken)
        soak.tell(f"cases of damage: {kind}", soak.amounts.cases, "cases")
    for _ in tqdm(range(soak.amounts.damaged_stores), desc="damaged stores"):
        again += run_over(soak, originals, canary)
    check(not canary.exists(), "a pickle was unpickled")
    soak.tell("damaged bytes that change nothing", harmless, "cases")
    soak.tell("sweeps on damaged stores", soak.amounts.damaged_stores, "sweeps")
    soak.tell("damaged entries that they computed again", again, "entries")


def looked_up(soak: Soak, path: Path, data: bytes) -> bool:
    """Look up a damaged entry; return whether its result was returned intact."""
    key, tensors = entries.unpack(path.read_bytes())
    with tempfile.TemporaryDirectory(dir=soak.folder) as folder:
        planted = Path(folder) / path.parent.name / path.name
        planted.parent.mkdir()
        planted.write_bytes(data)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = list(Store(folder).find(key["kind"], key["shared"], key["rows"]))
    if not found:
        said = [str(warning.message) for warning in caught]
        check(
            len(said) == 1 and path.name in said[0], f"no warning names the damaged entry: {said}"
        )
        return False
    ((positions, same),) = found
    order = torch.tensor(positions).argsort()
    sound = all(torch.equal(same[name][order], tensors[name]) for name in tensors)
    check(sound and same.keys() == tensors.keys(), f"damage to {path} was not noticed")
    return True


def run_over(soak: Soak, originals: list[Path], canary: Path) -> int:
    """Damage entries of a copy of the store in all ways, and run the sweep on it."""
    store = soak.fresh()
    copytree(soak.store, store, dirs_exist_ok=True)
    places = {}
    kinds = [*DAMAGES, FOLDER] * soak.amounts.damaged_alike
    for path, kind in zip(soak.draw.sample(originals, len(kinds)), kinds, strict=True):
        data, place = path.read_bytes(), store / path.relative_to(soak.store)
        if kind == FOLDER:  # the entry cannot be written there, but the sweep must continue
            place.unlink()
            place.mkdir()
        else:
            while _sound(broken := damaged(data, kind, soak.draw, canary)):
                pass
            place.write_bytes(broken)
            places[place] = data
    run = soak.finish(soak.run(store))
    said = [
        text for text in run.told("warning") if "is ignored, and its batch is recomputed" in text
    ]
    named = all(any(place.name in text for text in said) for place in places)
    check(named and len(said) == len(kinds), "the warnings do not name exactly the damaged entries")
    check(len(run.told("begun")) == len(kinds), "not exactly the damaged batches were recomputed")
    mended = all(place.read_bytes() == data for place, data in places.items())
    check(mended, "a damaged entry was not replaced")
    return len(kinds)


def _sound(data: bytes) -> bool:
    try:
        entries.unpack(data)
    except ValueError:
        return False
    return True
