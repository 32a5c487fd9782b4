"""Evaluation of searches: labelled queries, ranking metrics with confidence intervals, comparisons and reports."""

from langchain_gemini_mm.evaluation.dimension_sweep import adimension_sweep, dimension_sweep
from langchain_gemini_mm.evaluation.evaluate import acompare_rankings, aevaluate, compare_rankings, evaluate
from langchain_gemini_mm.evaluation.labelled_files import read_labelled, write_labelled
from langchain_gemini_mm.evaluation.metrics import Measure
from langchain_gemini_mm.evaluation.reports import Comparison, QueryResult, Report
from langchain_gemini_mm.labelled_query import LabelledQuery

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
