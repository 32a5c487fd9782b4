"""Analysis of stored vectors: classification, recommendations, near-duplicates and outliers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_gemini_mm.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from langchain_gemini_mm.analysis.classify import (
        Classification,
        Match,
        aclassify,
        aclassify_many,
        classify,
        classify_many,
    )
    from langchain_gemini_mm.analysis.duplicates import (
        DuplicateGroup,
        DuplicatePair,
        Duplicates,
        afind_duplicates,
        find_duplicates,
    )
    from langchain_gemini_mm.analysis.outliers import Outlier, afind_outliers, find_outliers
    from langchain_gemini_mm.analysis.recommend import arecommend, recommend

__all__ = [
    "Classification",
    "DuplicateGroup",
    "DuplicatePair",
    "Duplicates",
    "Match",
    "Outlier",
    "aclassify",
    "aclassify_many",
    "afind_duplicates",
    "afind_outliers",
    "arecommend",
    "classify",
    "classify_many",
    "find_duplicates",
    "find_outliers",
    "recommend",
]

if not TYPE_CHECKING:
    __getattr__ = lazy_exports(
        __name__,
        {
            "Classification": "classify",
            "DuplicateGroup": "duplicates",
            "DuplicatePair": "duplicates",
            "Duplicates": "duplicates",
            "Match": "classify",
            "Outlier": "outliers",
            "aclassify": "classify",
            "aclassify_many": "classify",
            "afind_duplicates": "duplicates",
            "afind_outliers": "outliers",
            "arecommend": "recommend",
            "classify": "classify",
            "classify_many": "classify",
            "find_duplicates": "duplicates",
            "find_outliers": "outliers",
            "recommend": "recommend",
        },
    )
