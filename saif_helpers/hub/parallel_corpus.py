"""Parallel corpora with reference translations, loaded with Hugging Face's library datasets.

The default is FLORES+: about a thousand English sentences per split ("dev", "devtest"), translated
by people into some 200 languages. It is gated: accept its conditions on its page, then log in. It
is not shipped with this book. A data set with this layout has one configuration per language, whose
rows share an identifier. Code in data set repositories is never run.
"""

from collections.abc import Mapping
from typing import Any

from saif_helpers._internal.errors import ArgumentError
from saif_helpers.contents import Content

FLORES = "openlanguagedata/flores_plus"


def load_parallel(
    source: str,
    targets: Mapping[str, str],
    split: str,
    *,
    dataset: str = FLORES,
    text_column: str = "text",
    id_column: str = "id",
) -> list[Content]:
    """Load sentences with reference translations.

    The contents have no slots, so they suit only instructions without slots.

    Args:
        source: Configuration of the content's language, for example ``"eng_Latn"``.
        targets: Instruction name to the configuration of its references, for example
            ``{"french": "fra_Latn"}``.
        split: A split of the data set: ``"dev"`` or ``"devtest"`` for FLORES+. The latter counts as
            a test split: no setting can be chosen on it, see `search.check_no_test_leakage`.
        dataset: The data set's name on the Hugging Face Hub, or the path of a local folder with
            the same layout.
        text_column: Column with the sentence.
        id_column: Column that identifies corresponding rows of two configurations.

    Returns:
        The contents, in the order of the source.

    Raises:
        ImportError: If the library is not installed.
        OSError: If the data set cannot be loaded: no network, no such name, or it is gated.
        ValueError: If there are no targets, there is no such configuration, split or column, or the
            rows of two configurations do not correspond.
    """
    if not targets:
        raise ArgumentError(
            "load_parallel was given no targets; give instruction names and configurations, for "
            "example {'french': 'fra_Latn'}",
            "targets",
        )
    columns = (id_column, text_column)
    texts = _texts(dataset, source, split, columns)
    references = {name: _texts(dataset, to, split, columns) for name, to in targets.items()}
    for name, found in references.items():
        missing = len(texts.keys() - found.keys())
        if missing:
            raise ArgumentError(
                f"{missing} of the {len(texts)} sentences of {source!r} have no row of the same "
                f"{id_column!r} in {targets[name]!r}; give configurations of one parallel data set",
                "targets",
            )
    return [
        Content(text, {name: found[key] for name, found in references.items()}, split=split)
        for key, text in texts.items()
    ]


def _texts(
    dataset: str, configuration: str, split: str, columns: tuple[str, str]
) -> dict[object, str]:
    """Return one language's sentences by identifier."""
    rows = _rows(dataset, configuration, split)
    unknown = [name for name in columns if name not in rows.column_names]
    if unknown:
        raise ArgumentError(
            f"columns {', '.join(unknown)} given; {configuration!r} of {dataset!r} has "
            f"{', '.join(rows.column_names)}",
            "text_column" if columns[1] in unknown else "id_column",
        )
    keys, texts = (list(rows[name]) for name in columns)
    if len(set(keys)) < len(keys):
        raise ArgumentError(
            f"the column {columns[0]!r} of {configuration!r} repeats a value; give a column that "
            "identifies the rows",
            "id_column",
        )
    return dict(zip(keys, texts, strict=True))


def _rows(dataset: str, configuration: str, split: str) -> Any:
    """Return one configuration's rows, as the library's Dataset."""
    try:
        import datasets
    except ImportError as error:
        raise ImportError(
            f"reference translations need a library that is missing ({error}); install it "
            "with: pip install datasets"
        ) from error
    asked = f"{configuration!r}, split {split!r}, of the data set {dataset!r}"
    try:
        return datasets.load_dataset(dataset, configuration, split=split)
    except OSError as error:
        raise OSError(
            f"{asked} cannot be loaded: {error} If it is gated, accept its conditions on its page "
            "and log in with: hf auth login. Without a network, give dataset= the path of a local "
            "folder of the same layout"
        ) from error
    except ValueError as error:
        raise ArgumentError(f"{asked} cannot be loaded: {error}", "dataset") from error
