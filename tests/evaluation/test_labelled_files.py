"""Labelled queries as JSON lines: written, read, and refused if they are invalid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_gemini_mm import ContentError, Query
from langchain_gemini_mm.evaluation import LabelledQuery, read_labelled, write_labelled
from langchain_gemini_mm.references import MediaRef

REF = MediaRef("ab" * 32).segment(1, 2)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
GRADES = st.dictionaries(TEXT, st.floats(0.001, 1e9), max_size=4)


def rows(labelled: list[LabelledQuery]) -> list[Any]:
    """The fields of queries, for comparison."""
    return [(one.query, dict(one.relevant), one.modality) for one in labelled]


@given(labelled=st.lists(st.tuples(TEXT, GRADES, st.sampled_from([None, "text", "image"])), max_size=5))
def test_texts_round_trip(
    tmp_path_factory: pytest.TempPathFactory, labelled: list[tuple[str, dict[str, float], Any]]
) -> None:
    """Any text, ids and grades are read as they were written, including line ends."""
    path = tmp_path_factory.mktemp("labelled") / "set.jsonl"
    queries = [LabelledQuery(query, relevant, modality=modality) for query, relevant, modality in labelled]
    assert write_labelled(path, queries) == len(queries)
    assert rows(read_labelled(path)) == rows(queries)


def test_every_type_of_query_round_trips(tmp_path: Path) -> None:
    """Paths, references, lists and stored ids are read as they were written, in a readable format."""
    photo = tmp_path / "photos" / "dög.jpg"
    queries = [
        LabelledQuery(photo, {"dog-1": 3, "dog-2": 1}, modality="image"),
        LabelledQuery(REF, ["a"]),
        LabelledQuery(["like this:", REF, photo], []),
        LabelledQuery(Query(like=["a", "b"], unlike=["c"], weights=[1, 2, 0.5]), ["d"]),
        LabelledQuery(Query("red", REF, like=["a"]), ["d"]),
        LabelledQuery(Query("red", "round", separate=True, weights=[2, 1]), ["d"]),
    ]
    path = tmp_path / "set.jsonl"
    write_labelled(path, queries)
    assert rows(read_labelled(path)) == rows(queries)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == (
        '{"query": {"path": "photos/dög.jpg"}, "relevant": {"dog-1": 3.0, "dog-2": 1.0}, "modality": "image"}'
    )
    assert lines[1] == f'{{"query": {{"ref": "{REF.uri}"}}, "relevant": ["a"]}}'
    assert [file.name for file in tmp_path.iterdir()] == ["set.jsonl"]


def test_files_of_text_editors_are_read(tmp_path: Path) -> None:
    """A byte order mark, blank lines and Windows line ends are accepted."""
    path = tmp_path / "set.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"query": "a", "relevant": ["x"]}\r\n\r\n{"query": "b", "relevant": []}')
    assert rows(read_labelled(path)) == [("a", {"x": 1.0}, None), ("b", {}, None)]


def test_a_text_is_only_a_text(tmp_path: Path) -> None:
    """A str that looks like a path or an address is not opened."""
    path = tmp_path / "set.jsonl"
    path.write_text(json.dumps({"query": "/etc/passwd", "relevant": []}), encoding="utf-8")
    assert read_labelled(path)[0].query == "/etc/passwd"


BAD: list[Any] = [
    ("no json", "{", "line 2: Expecting property name"),
    ("no object", "[1]", "a line must be an object with query, relevant, modality"),
    ("no query", '{"relevant": []}', "'query' is missing"),
    ("no labels", '{"query": "a"}', "'relevant' is missing"),
    ("a misspelt key", '{"query": "a", "relevant": [], "modalty": "text"}', "a line has no 'modalty'"),
    ("labels that are a text", '{"query": "a", "relevant": "x"}', "'relevant' must be a list of ids"),
    ("a grade of 0", '{"query": "a", "relevant": {"x": 0}}', "the grade of 'x'"),
    ("a number as id", '{"query": "a", "relevant": [7]}', "ids as str, got 7"),
    (
        "an unknown modality",
        '{"query": "a", "relevant": [], "modality": "smell"}',
        "'modality' must be one of text, image",
    ),
    ("a number", '{"query": 7, "relevant": []}', "a query must be a text"),
    ("an empty list", '{"query": [], "relevant": []}', "a query is empty"),
    ("a list in a list", '{"query": [["a"]], "relevant": []}', "a query must be a text"),
    ("an unknown object", '{"query": {"file": "x"}, "relevant": []}', "a query of stored ids has no 'file'"),
    ("an empty object", '{"query": {}, "relevant": []}', "the query is empty"),
    ("a path and more", '{"query": {"path": "x", "ref": "y"}, "relevant": []}', "a file has no 'ref'"),
    ("a path outside", '{"query": {"path": "../x.png"}, "relevant": []}', "is outside of the folder"),
    ("an absolute path", '{"query": {"path": "/etc/passwd"}, "relevant": []}', "is outside of the folder"),
    ("a path of Windows", '{"query": {"path": "a\\\\b"}, "relevant": []}', "with / between"),
    ("a drive", '{"query": {"path": 7}, "relevant": []}', "a path must be a str"),
    ("no reference", '{"query": {"ref": "mm://x"}, "relevant": []}', "is not a media reference"),
    ("a reference that is a number", '{"query": {"ref": 7}, "relevant": []}', "parsed from a str, got int"),
    ("one id", '{"query": {"like": "x"}, "relevant": []}', "like is a list of ids"),
    (
        "separate by a word",
        '{"query": {"content": "a", "separate": "no"}, "relevant": []}',
        "'separate' must be true or false",
    ),
    ("weights that do not fit", '{"query": {"like": ["x"], "weights": [1, 2]}, "relevant": []}', "weights has 2"),
    ("too deep", "[" * 100_000, "line 2"),
]


@pytest.mark.parametrize(("line", "words"), [pytest.param(*case[1:], id=case[0]) for case in BAD])
def test_a_bad_line_is_named(tmp_path: Path, line: str, words: str) -> None:
    """The error has file name, line number and reason."""
    path = tmp_path / "set.jsonl"
    path.write_text('{"query": "fine", "relevant": []}\n' + line, encoding="utf-8")
    with pytest.raises(ContentError, match=words) as caught:
        read_labelled(path)
    assert str(caught.value).startswith("set.jsonl, line 2: ")


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    """A symbolic link that is outside of the folder is refused."""
    (tmp_path / "inside").mkdir()
    (tmp_path / "secret.txt").write_text("x")
    try:
        (tmp_path / "inside" / "link.txt").symlink_to(tmp_path / "secret.txt")
    except OSError:
        pytest.skip("links are not allowed here")
    path = tmp_path / "inside" / "set.jsonl"
    path.write_text('{"query": {"path": "link.txt"}, "relevant": []}', encoding="utf-8")
    with pytest.raises(ContentError, match="is outside of the folder"):
        read_labelled(path)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        pytest.param(b"\x89PNG secret", "a bytes cannot be written", id="bytes"),
        pytest.param(["a", {"type": "text"}], "a dict cannot be written", id="a block"),
        pytest.param(Path("/etc/passwd"), "'passwd' is not in the folder", id="a file elsewhere"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path: Path, query: Any, words: str) -> None:
    """The error has the position and no bytes; an existing file is kept."""
    path = tmp_path / "set.jsonl"
    write_labelled(path, [LabelledQuery("old", [])])
    with pytest.raises(ContentError, match=words) as caught:
        write_labelled(path, [LabelledQuery("new", []), LabelledQuery(query, [])])
    assert str(caught.value).startswith("labelled[1]: ")
    assert "secret" not in str(caught.value)
    assert read_labelled(path)[0].query == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["set.jsonl"]
