"""The filters that LangChain's `SelfQueryRetriever` lets a chat model write, as filters of these stores."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from langchain_core.structured_query import (
    Comparator,
    Comparison,
    FilterDirective,
    Operation,
    Operator,
    StructuredQuery,
    Visitor,
)

from langchain_gemini_mm.errors import FilterError
from langchain_gemini_mm.vectorstores.records import plain_scalar

_COMPARATORS = {
    Comparator.EQ: "$eq",
    Comparator.NE: "$ne",
    Comparator.GT: "$gt",
    Comparator.GTE: "$gte",
    Comparator.LT: "$lt",
    Comparator.LTE: "$lte",
    Comparator.IN: "$in",
    Comparator.NIN: "$nin",
    Comparator.CONTAIN: "$eq",
}
_DATES = ("date", "datetime")
_WILDCARDS = "*%"


class SelfQueryTranslator(Visitor):
    """Translates the queries of `SelfQueryRetriever` for `LocalVectorStore` and `WeaviateVectorStore`.

    ```python
    from langchain_core.structured_query import Comparator, Comparison, StructuredQuery

    from langchain_gemini_mm.vectorstores import SelfQueryTranslator

    asked = StructuredQuery(query="a cat", filter=Comparison(comparator=Comparator.GT, attribute="year", value=2022))
    query, options = SelfQueryTranslator().visit_structured_query(asked)
    assert (query, options) == ("a cat", {"filter": {"year": {"$gt": 2022}}})
    ```

    `contain` finds lists with an element. `like` finds texts by their beginning, such as `photos/2024/%`. A date is a
    whole day in UTC: equal to it is any time of that day, and after it begins the next day. A time without a zone is
    one in UTC. In metadata, `date` and `datetime` objects with a zone fit.
    """

    allowed_comparators = (*_COMPARATORS, Comparator.LIKE)
    allowed_operators = (Operator.AND, Operator.OR, Operator.NOT)

    def visit_structured_query(self, structured_query: StructuredQuery) -> tuple[str, dict[str, Any]]:
        """The query, and the options of `search`.

        Raises:
            FilterError: the filter has no equivalent.
        """
        given = structured_query.filter
        options: dict[str, Any] = {} if given is None else {"filter": self._filter(given)}
        if structured_query.limit is not None:
            options["k"] = structured_query.limit
        return structured_query.query, options

    def visit_operation(self, operation: Operation) -> dict[str, Any]:
        """The filter for `and`, `or` and `not`.

        Raises:
            FilterError: the filter has no equivalent.
        """
        parts = [self._filter(argument) for argument in operation.arguments]
        if operation.operator == Operator.NOT:
            return {"$not": parts[0] if len(parts) == 1 else {"$and": parts}}
        return {f"${operation.operator.value}": parts}

    def visit_comparison(self, comparison: Comparison) -> dict[str, Any]:
        """The filter for one comparison.

        Raises:
            FilterError: it has no equivalent.
        """
        key, value, comparator = comparison.attribute, comparison.value, comparison.comparator
        if comparator == Comparator.LIKE:
            return {key: {"$startswith": _prefix(key, value)}}
        if comparator not in _COMPARATORS:
            raise FilterError(
                f"the comparator {str(comparator.value)!r} on {key!r} has no equivalent. Allowed: "
                f"{', '.join(known.value for known in self.allowed_comparators)}"
            )
        if isinstance(value, Mapping) and value.get("type") in _DATES:
            return _on_date(key, comparator, value)
        return {key: {_COMPARATORS[comparator]: value}}

    def _filter(self, given: FilterDirective) -> dict[str, Any]:
        found: dict[str, Any] = given.accept(self)
        return found


def _prefix(key: str, pattern: Any) -> str:
    prefix = pattern.rstrip(_WILDCARDS) if isinstance(pattern, str) else ""
    if not prefix or prefix == pattern or any(character in prefix for character in _WILDCARDS):
        raise FilterError(f"like on {key!r} takes the beginning of a text, such as 'photos/%', got {pattern!r:.60}")
    return prefix


def _on_date(key: str, comparator: Comparator, value: Mapping[str, Any]) -> dict[str, Any]:
    kind = value["type"]
    text = value.get(kind)
    try:
        if kind == "datetime":
            instant = datetime.fromisoformat(str(text))
            instant = instant.astimezone(UTC) if instant.tzinfo else instant.replace(tzinfo=UTC)
            return {key: {_COMPARATORS[comparator]: plain_scalar(instant, f"the filter on {key!r}")}}
        day = date.fromisoformat(str(text))
    except ValueError:
        raise FilterError(f"the filter on {key!r} names the {kind} {text!r:.60}, which does not exist") from None
    if comparator in (Comparator.EQ, Comparator.NE, Comparator.CONTAIN):
        within = {"$gte": day.isoformat(), "$lt": (day + timedelta(days=1)).isoformat()}
        return {key: {"$not": within} if comparator == Comparator.NE else within}
    if comparator in (Comparator.GT, Comparator.LTE):  # after a day is after all of it
        day += timedelta(days=1)
        return {key: {"$gte" if comparator == Comparator.GT else "$lt": day.isoformat()}}
    return {key: {_COMPARATORS[comparator]: day.isoformat()}}
