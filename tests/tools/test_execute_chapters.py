import os

import execute_chapters
import nbformat
import pytest
from execute_chapters import execute
from jupyter_cache import get_cache
from jupyter_cache.cache.db import NbCacheRecord
from nbformat.v4 import new_code_cell, new_notebook

KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}


def chapter(folder, name, code):
    path = folder / f"{name}.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell(code)], metadata=KERNEL), path)
    return path


def test_a_chapter_is_executed_once_and_again_when_it_has_changed(tmp_path):
    log, cache = tmp_path / "log", tmp_path / "cache"
    write = f"open({str(log)!r}, 'a').write('one\\n')"
    for _ in range(2):
        assert execute([chapter(tmp_path, "one", write)], cache) == {}
    assert log.read_text() == "one\n"
    assert execute([chapter(tmp_path, "one", write.replace("one\\n", "two\\n"))], cache) == {}
    assert log.read_text() == "one\ntwo\n"


def test_a_chapter_that_fails_is_told_with_its_traceback(tmp_path):
    good = chapter(tmp_path, "good", "1 + 1")
    bad = chapter(tmp_path, "bad", "raise RuntimeError('in the chapter')")
    failed = execute([good, bad], tmp_path / "cache")
    assert list(failed) == [str(bad)]
    assert ": in the chapter" in failed[str(bad)]


def test_no_process_clears_the_cache_while_another_fills_it(tmp_path, monkeypatch):
    """What one clears may be what another has just put there; here all would be cleared."""

    def all_of_them(keep, db):
        return [record.pk for record in NbCacheRecord.records_all(db)]

    monkeypatch.setattr(NbCacheRecord, "records_to_delete", all_of_them)
    cache = tmp_path / "cache"
    assert execute([chapter(tmp_path, name, f"'{name}'") for name in ("one", "two")], cache) == {}
    assert len(get_cache(cache).list_cache_records()) == 2


@pytest.mark.parametrize("chosen", [None, "elsewhere"])
def test_chapters_keep_results_in_the_folder_of_the_build_or_where_one_says(
    tmp_path, monkeypatch, chosen
):
    monkeypatch.setattr(os, "environ", {**os.environ, "SAIF_STORE": chosen or ""})
    if not chosen:
        del os.environ["SAIF_STORE"]
    monkeypatch.setattr(execute_chapters, "ROOT", tmp_path)
    (tmp_path / "saif_helpers").mkdir()
    (tmp_path / "requirements.lock").touch()
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: one\n")
    expected = chosen or str(tmp_path / "_build" / ".results")
    chapter(tmp_path, "one", f"import os; assert os.environ['SAIF_STORE'] == {expected!r}")
    assert execute_chapters.main() == 0
