"""Evaluation of searches: labelled queries, ranking metrics with confidence intervals, comparisons and reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_gemini_mm.labelled_query import LabelledQuery
from langchain_gemini_mm.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from langchain_gemini_mm.evaluation.dimension_sweep import adimension_sweep, dimension_sweep
    from langchain_gemini_mm.evaluation.evaluate import acompare_rankings, aevaluate, compare_rankings, evaluate
    from langchain_gemini_mm.evaluation.labelled_files import read_labelled, write_labelled
    from langchain_gemini_mm.evaluation.metrics import Measure
    from langchain_gemini_mm.evaluation.reports import Comparison, QueryResult, Report

__all__ = [
    "Comparison",
    "LabelledQuery",
    "Measure",
    "QueryResult",
    "Report",
    "acompare_rankings",
    "adimension_sweep",
    "aevaluate",
    "compare_rankings",
    "dimension_sweep",
    "evaluate",
    "read_labelled",
    "write_labelled",
]

if not TYPE_CHECKING:
    __getattr__ = lazy_exports(
        __name__,
        {
            "Comparison": "reports",
            "Measure": "metrics",
            "QueryResult": "reports",
            "Report": "reports",
            "acompare_rankings": "evaluate",
            "adimension_sweep": "dimension_sweep",
            "aevaluate": "evaluate",
            "compare_rankings": "evaluate",
            "dimension_sweep": "dimension_sweep",
            "evaluate": "evaluate",
            "read_labelled": "labelled_files",
            "write_labelled": "labelled_files",
        },
    )
