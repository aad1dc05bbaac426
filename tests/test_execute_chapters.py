import nbformat
from execute_chapters import execute
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
