"""The table of filters with the metadata they match, for all stores."""

from __future__ import annotations

import math
from typing import Any, NamedTuple


class Meaning(NamedTuple):
    """A filter, and metadata that it matches and does not match."""

    name: str
    filter: dict[str, Any]
    matching: list[dict[str, Any]]
    others: list[dict[str, Any]]


MEANINGS = [
    Meaning("nothing asked", {}, [{}, {"a": 1}], []),
    Meaning("equal text", {"a": "x"}, [{"a": "x"}, {"a": "x", "b": 1}], [{"a": "X"}, {"a": "x "}, {"b": "x"}, {}]),
    Meaning("equal number", {"a": 1}, [{"a": 1}, {"a": 1.0}], [{"a": True}, {"a": "1"}, {"a": 2}]),
    Meaning("equal bool", {"a": True}, [{"a": True}], [{"a": 1}, {"a": "True"}, {"a": False}, {}]),
    Meaning("equal false", {"a": False}, [{"a": False}], [{"a": 0}, {}, {"a": None}, {"a": ""}]),
    Meaning("None is no value", {"a": None}, [{}, {"a": None}, {"a": []}, {"a": [None]}], [{"a": 0}, {"a": {}}]),
    Meaning("not None", {"a": {"$ne": None}}, [{"a": 0}, {"a": ""}, {"a": {}}], [{}, {"a": None}, {"a": []}]),
    Meaning("several keys", {"a": 1, "b": 2}, [{"a": 1, "b": 2}], [{"a": 1}, {"a": 1, "b": 3}]),
    Meaning("several operators", {"a": {"$gt": 1, "$lt": 5}}, [{"a": 2}, {"a": 4.9}], [{"a": 1}, {"a": 5}, {}]),
    Meaning("unequal", {"a": {"$ne": 1}}, [{"a": 2}, {"a": "1"}, {}, {"a": True}, {"a": None}], [{"a": 1}, {"a": 1.0}]),
    Meaning("greater", {"a": {"$gt": 1.5}}, [{"a": 2}, {"a": 1.6}], [{"a": 1.5}, {"a": "2"}, {"a": True}, {}]),
    Meaning("greater or equal", {"a": {"$gte": 2}}, [{"a": 2.0}, {"a": 3}], [{"a": 1}, {"a": None}]),
    Meaning("less", {"a": {"$lt": 0}}, [{"a": -1}, {"a": -0.5}], [{"a": 0}, {"a": False}, {}]),
    Meaning("less or equal text", {"a": {"$lte": "m"}}, [{"a": "m"}, {"a": "a"}, {"a": ""}], [{"a": "n"}, {"a": 1}]),
    Meaning("code point order", {"a": {"$gt": "z"}}, [{"a": "é"}, {"a": "画"}], [{"a": "Z"}, {"a": "a"}]),
    Meaning(
        "one of", {"a": {"$in": [1, "x", True]}}, [{"a": 1.0}, {"a": "x"}, {"a": True}], [{"a": "1"}, {"a": 2}, {}]
    ),
    Meaning("one of, with None", {"a": {"$in": ["x", None]}}, [{"a": "x"}, {}, {"a": None}], [{"a": "y"}]),
    Meaning("one of nothing", {"a": {"$in": []}}, [], [{}, {"a": 1}]),
    Meaning("none of", {"a": {"$nin": [1, 2]}}, [{"a": 3}, {}, {"a": "1"}], [{"a": 1}, {"a": 2.0}]),
    Meaning("none of nothing", {"a": {"$nin": []}}, [{}, {"a": 1}], []),
    Meaning(
        "exists", {"a": {"$exists": True}}, [{"a": 0}, {"a": [1]}, {"a": {"b": 1}}, {"a": [[]]}], [{}, {"a": None}]
    ),
    Meaning("missing", {"a": {"$exists": False}}, [{}, {"a": None}, {"a": []}], [{"a": False}]),
    Meaning("a list, equal", {"a": "x"}, [{"a": ["y", "x"]}], [{"a": ["y"]}, {"a": [["x"]]}]),
    Meaning("a list, unequal", {"a": {"$ne": "x"}}, [{"a": ["y"]}], [{"a": ["y", "x"]}]),
    Meaning("a list, greater", {"a": {"$gt": 5}}, [{"a": [1, 9]}], [{"a": [1, 5]}, {"a": ["9"]}]),
    Meaning("a list, between", {"a": {"$gt": 3, "$lt": 5}}, [{"a": [1, 9]}, {"a": 4}], [{"a": [1, 2]}]),
    Meaning("a list, one of", {"a": {"$in": [1, 2]}}, [{"a": [2, 3]}], [{"a": [3, None]}]),
    Meaning(
        "a folder",
        {"a": {"$startswith": "b/"}},
        [{"a": "b/"}, {"a": "b/c"}, {"a": ["x", "b/\nc"]}],
        [{"a": "b"}, {"a": "B/"}, {"a": "ab/"}, {"a": 1}, {"a": {"b/": 1}}, {}],
    ),
    Meaning("a prefix is no pattern", {"a": {"$startswith": "*?%_["}}, [{"a": "*?%_[x"}], [{"a": "xx%_["}, {"a": "*"}]),
    Meaning(
        "a prefix of white space", {"a": {"$startswith": " \u3000"}}, [{"a": " \u3000"}], [{"a": "\u3000"}, {"a": " "}]
    ),
    Meaning("another folder", {"a": {"$not": {"$startswith": "b/"}}}, [{"a": "b"}, {}, {"a": 1}], [{"a": ["x", "b/"]}]),
    Meaning("not, above keys", {"$not": {"a": 1, "b": 2}}, [{"a": 1}, {}, {"b": 2}], [{"a": 1, "b": 2}]),
    Meaning("not, inside a key", {"a": {"$not": {"$gt": 5}}}, [{"a": 5}, {}, {"a": "x"}], [{"a": 6}]),
    Meaning("and", {"$and": [{"a": {"$gt": 1}}, {"a": {"$ne": 3}}]}, [{"a": 2}], [{"a": 3}, {"a": 1}]),
    Meaning("or", {"$or": [{"a": 1}, {"b": 1}]}, [{"a": 1}, {"b": 1, "a": 2}], [{"a": 2}, {}]),
    Meaning("or next to a key", {"$or": [{"a": 1}, {"a": 2}], "b": 1}, [{"a": 2, "b": 1}], [{"a": 2}, {"b": 1}]),
    Meaning(
        "deep", {"$not": {"$or": [{"a": 1}, {"$not": {"b": 2}}]}}, [{"a": 2, "b": 2}], [{"a": 1, "b": 2}, {"a": 2}]
    ),
    Meaning("a dot is a dot", {"a.b": 1}, [{"a.b": 1}], [{"a": {"b": 1}}, {}]),
    Meaning("dicts never equal", {"a": {"$ne": "b"}}, [{"a": {"b": "b"}}], [{"a": "b"}]),
    Meaning("quotes", {"a'b\"c": "d'; DROP TABLE doc; --"}, [{"a'b\"c": "d'; DROP TABLE doc; --"}], [{"a": "d"}]),
    Meaning("a dollar inside", {"us$": "$5"}, [{"us$": "$5"}], [{"us": "$5"}]),
    Meaning("other scripts", {"ключ": "画像🐕"}, [{"ключ": "画像🐕"}], [{"ключ": "画像"}]),
    Meaning("an empty key", {"": 1}, [{"": 1}], [{}]),
    Meaning("a NUL", {"a": "x\0y"}, [{"a": "x\0y"}], [{"a": "x"}, {"a": "x\0z"}]),
    Meaning("64 bits are exact", {"a": 2**53 + 1}, [{"a": 2**53 + 1}], [{"a": 2**53}, {"a": float(2**53)}]),
    Meaning(
        "the largest", {"a": {"$gte": 2**63 - 1}}, [{"a": 2**63 - 1}, {"a": 2**63}, {"a": 10**400}], [{"a": 2**63 - 2}]
    ),
    Meaning("beyond 64 bits: doubles", {"a": 2**70}, [{"a": 2**70 + 1}, {"a": float(2**70)}], [{"a": 2**69}]),
    Meaning(
        "long decimals",
        {"a": 0.1234567890123456},
        [{"a": 0.1234567890123456}],
        [{"a": math.nextafter(0.1234567890123456, 1)}],
    ),
    Meaning("zeros", {"a": 0}, [{"a": -0.0}, {"a": 0}], [{"a": 5e-324}]),
]
