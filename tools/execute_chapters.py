"""Execute the chapters in parallel into the cache that the book is built from.

MyST-NB would execute the chapters one after the other. The shipped models are too small to benefit
from a second thread, so each chapter runs on one thread and as many chapters run at once as there
are cores. A chapter whose results are in the cache is not executed. Captures and generations are
stored, so an edit to a function that does not affect them (a grader, a figure) does not recompute
them. Run by ``make book``.
"""

import logging
import os
import sys
from pathlib import Path

import yaml
from check_pages import toc_files
from jupyter_cache import get_cache
from jupyter_cache.cache.db import NbProjectRecord
from jupyter_cache.executors import load_executor
from saif_build import prepare_cache

ROOT = Path(__file__).resolve().parents[1]
STORE = ".results"  # captures and generations, in the build folder
TIME_LIMIT = 600  # seconds for one cell, as in _config.yml


def keep_all() -> None:
    """Delete nothing; replaces the cache's own clean-up after each entry.

    That clean-up first lists the latest thousand entries, then deletes all others, including an
    entry that another process has added in between. This cache never reaches that size.
    """


def execute(notebooks: list[Path], folder: Path) -> dict[str, str]:
    """Execute the notebooks that are not in a cache, and add them to it.

    Args:
        notebooks: The notebooks.
        folder: Folder of the cache.

    Returns:
        The tracebacks of the notebooks that failed, by path.
    """
    cache = get_cache(folder)
    cache.truncate_caches = keep_all
    records = [cache.add_nb_to_project(str(path)) for path in notebooks]
    NbProjectRecord.remove_tracebacks([record.pk for record in records], cache.db)
    executor = load_executor("local-parallel", cache, logging.getLogger("chapters"))
    uris = [record.uri for record in records]
    result = executor.run_and_cache(filter_uris=uris, timeout=TIME_LIMIT)
    failed = [*result.excepted, *result.errored]
    return {uri: cache.get_project_record(uri).traceback or "no traceback" for uri in failed}


def main() -> int:
    """Execute the chapters in the table of contents.

    Returns:
        0 if none failed, else 1.
    """
    os.environ["SAIF_BOOK_BUILD"] = "1"  # no progress bars on the pages
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("SAIF_STORE", str(ROOT / "_build" / STORE))
    toc = toc_files(yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8")))
    notebooks = [path for path in (ROOT / f"{name}.ipynb" for name in toc) if path.exists()]
    print(f"{len(notebooks)} chapters; executing the changed ones in parallel")
    failed = execute(notebooks, prepare_cache(ROOT, ROOT / "_build"))
    for uri, traceback in failed.items():
        print(f"{uri} failed:\n{traceback}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
