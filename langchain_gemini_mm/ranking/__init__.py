"""Rankings that are fair to all modalities: deviations from a background, and probabilities learned from labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_gemini_mm.labelled_query import LabelledQuery
from langchain_gemini_mm.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from langchain_gemini_mm.ranking.background import asample_background, sample_background
    from langchain_gemini_mm.ranking.calibrate import acalibrate, calibrate
    from langchain_gemini_mm.ranking.calibration import Calibration
    from langchain_gemini_mm.ranking.search import RANKINGS, Ranking

__all__ = [
    "RANKINGS",
    "Calibration",
    "LabelledQuery",
    "Ranking",
    "acalibrate",
    "asample_background",
    "calibrate",
    "sample_background",
]

if not TYPE_CHECKING:
    __getattr__ = lazy_exports(
        __name__,
        {
            "Calibration": "calibration",
            "RANKINGS": "search",
            "Ranking": "search",
            "acalibrate": "calibrate",
            "asample_background": "background",
            "calibrate": "calibrate",
            "sample_background": "background",
        },
    )
