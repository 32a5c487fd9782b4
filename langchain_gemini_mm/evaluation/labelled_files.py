"""Files of labelled queries, in JSON Lines format: one query per line.

```
{"query": "a dog on a beach", "relevant": ["dog-1", "dog-2"]}
{"query": {"path": "photos/dog.jpg"}, "relevant": {"dog-1": 3, "dog-2": 1}, "modality": "image"}
{"query": ["like this, at night:", {"ref": "mm://sha256-..."}], "relevant": ["dog-7"]}
{"query": {"like": ["dog-1"], "unlike": ["cat-1"]}, "relevant": ["dog-2"]}
{"query": "a steam locomotive", "relevant": []}
```

A str is a text, which may contain media references as in `page_content`. A `path` is relative to the folder of the
file, uses `/`, and must not lead out of the folder. A `ref` is a media reference. `like`, `unlike`, `weights` and
`separate` are the arguments of `Query`, and `content` is a list of its contents. A list is one query of several parts.
Blank lines are ignored.
"""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, get_args

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.interfaces import Content, Modality
from langchain_gemini_mm.labelled_query import LabelledQuery
from langchain_gemini_mm.references import MediaRef
from langchain_gemini_mm.storage.regular_files import open_regular, replacing
from langchain_gemini_mm.vectorstores import Query

if TYPE_CHECKING:
    import os

_BEGINNING = 1000
_KEYS = ("query", "relevant", "modality")
_QUERY_KEYS = ("content", "like", "unlike", "weights", "separate")


def read_labelled(path: str | os.PathLike[str]) -> list[LabelledQuery]:
    """Read labelled queries from a JSON Lines file; the documentation of the module describes the format.

    ```python
    from pathlib import Path

    from langchain_gemini_mm.evaluation import LabelledQuery, read_labelled, write_labelled

    queries = [LabelledQuery("a dog", {"dog-1": 2}), LabelledQuery(Path("puppy.png"), ["dog-1"])]
    write_labelled("labelled.jsonl", queries)
    assert [one.query for one in read_labelled("labelled.jsonl")] == ["a dog", Path("puppy.png")]
    ```

    Raises:
        ContentError: a line is not in this format; the message has its number.
        OSError: the file cannot be read.
    """
    file = Path(path)
    found = []
    with file.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    found.append(_labelled_query(json.loads(line), file.parent))
                except (ValueError, TypeError, RecursionError) as error:
                    raise ContentError(f"{file.name}, line {number}: {error}") from error
    return found


def write_labelled(path: str | os.PathLike[str], labelled: Iterable[LabelledQuery]) -> int:
    """Write labelled queries to a JSON Lines file; an older one is replaced after all queries are written.

    Returns:
        The number of queries.

    Raises:
        ContentError: a query contains something other than texts, paths, references and stored ids; or a path is not
            in the folder of the labelled file.
        OSError: the file cannot be written, or the name is that of a file of another kind, a link or a device.
    """
    file = Path(path)
    count = 0
    with replacing(file, _require_labelled) as partial, partial.open("w", encoding="utf-8", newline="\n") as lines:
        for count, line in enumerate(_lines(labelled, file.parent), start=1):  # noqa: B007 - the last value is the count
            lines.write(line)
    return count


def _require_labelled(path: Path) -> None:
    """Refuse an existing file that does not begin with a labelled query.

    Raises:
        OSError: it is a file of another kind.
    """
    with open_regular(path) as file:
        start = file.read(_BEGINNING).removeprefix(b"\xef\xbb\xbf").lstrip()
    if start and not re.match(rb'\{\s*"(query|relevant|modality)"\s*:', start):
        raise FileExistsError(errno.EEXIST, "it is not a file of labelled queries and is not replaced", str(path))


def _lines(labelled: Iterable[LabelledQuery], folder: Path) -> Iterator[str]:
    for position, one in enumerate(labelled):
        try:
            row: dict[str, Any] = {"query": _plain(one.query, folder), "relevant": _grades(one.relevant)}
        except ContentError as error:
            raise ContentError(f"labelled[{position}]: {error}") from error
        if one.modality is not None:
            row["modality"] = one.modality
        yield json.dumps(row, ensure_ascii=False) + "\n"


def _labelled_query(row: Any, folder: Path) -> LabelledQuery:
    row = _object(row, _KEYS, "a line")
    for key in ("query", "relevant"):
        if key not in row:
            raise ContentError(f"{key!r} is missing")
    relevant, modality = row["relevant"], row.get("modality")
    if not isinstance(relevant, list | dict):
        raise ContentError(f"'relevant' must be a list of ids or an object of grades, got {_short(relevant)}")
    if modality is not None and modality not in get_args(Modality):
        raise ContentError(f"'modality' must be one of {', '.join(get_args(Modality))}, got {_short(modality)}")
    return LabelledQuery(_query(row["query"], folder), relevant, modality=modality)


def _query(value: Any, folder: Path) -> Content | Query:
    if isinstance(value, list):
        if not value:
            raise ContentError("a query is empty")
        return [_part(part, folder) for part in value]
    if isinstance(value, dict) and not {"path", "ref"} & value.keys():
        row = _object(value, _QUERY_KEYS, "a query of stored ids")
        content = row.get("content", [])
        parts = [_part(part, folder) for part in (content if isinstance(content, list) else [content])]
        return Query(*parts, like=row.get("like", ()), unlike=row.get("unlike", ()), **_options(row))
    return _part(value, folder)


def _options(row: Mapping[str, Any]) -> dict[str, Any]:
    separate = row.get("separate", False)
    if not isinstance(separate, bool):
        raise ContentError(f"'separate' must be true or false, got {_short(separate)}")
    return {"weights": row.get("weights"), "separate": separate}


def _part(value: Any, folder: Path) -> Content:
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and "path" in value:
        return _file(_object(value, ("path",), "a file")["path"], folder)
    if isinstance(value, dict) and "ref" in value:
        return MediaRef.parse(_object(value, ("ref",), "a reference")["ref"])
    raise ContentError(
        f'a query must be a text, {{"path": ...}}, {{"ref": ...}} or a list of these, got {_short(value)}'
    )


def _file(name: Any, folder: Path) -> Path:
    if not isinstance(name, str) or not name or "\\" in name or "\0" in name:
        raise ContentError(f"a path must be a str with / between its parts, got {_short(name)}")
    path = folder / PurePosixPath(name)
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ContentError(f"the path {_short(name)} is outside of the folder of the labelled file")
    return path


def _plain(query: Any, folder: Path) -> Any:
    if isinstance(query, Query):
        parts: dict[str, Any] = {"content": [_plain_part(part, folder) for part in query.content]}
        weights = list(query.weights) if set(query.weights) != {1.0} else None
        parts |= {
            "like": list(query.like),
            "unlike": list(query.unlike),
            "weights": weights,
            "separate": query.separate,
        }
        return {key: value for key, value in parts.items() if value}
    if isinstance(query, list | tuple):
        return [_plain_part(part, folder) for part in query]
    return _plain_part(query, folder)


def _plain_part(part: Any, folder: Path) -> Any:
    if isinstance(part, str):
        return part
    if isinstance(part, MediaRef):
        return {"ref": part.uri}
    if not isinstance(part, Path):
        raise ContentError(
            f"a {type(part).__name__} cannot be written to a labelled file; store it in a file or a MediaStore and use "
            "the Path or the MediaRef"
        )
    whole, root = part.resolve(), folder.resolve()
    if not whole.is_relative_to(root):
        raise ContentError(f"the file {part.name!r} is not in the folder of the labelled file")
    return {"path": whole.relative_to(root).as_posix()}


def _grades(relevant: Mapping[str, float]) -> list[str] | dict[str, float]:
    return list(relevant) if all(grade == 1 for grade in relevant.values()) else dict(relevant)


def _object(value: Any, keys: tuple[str, ...], what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ContentError(f"{what} must be an object with {', '.join(keys)}, got {_short(value)}")
    for key in value:
        if key not in keys:
            raise ContentError(f"{what} has no {_short(key)}; it may have: {', '.join(keys)}")
    return value


def _short(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
