"""Analysis of stored vectors: classification, recommendations, near-duplicates and outliers."""

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
