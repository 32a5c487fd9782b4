"""Rankings that are fair to all modalities: deviations from a background, and probabilities learned from labels."""

from langchain_gemini_mm.labelled_query import LabelledQuery
from langchain_gemini_mm.ranking.background import asample_background, sample_background
from langchain_gemini_mm.ranking.calibrate import acalibrate, calibrate
from langchain_gemini_mm.ranking.calibration import Calibration
from langchain_gemini_mm.ranking.search import (
    RANKINGS,
    Ranking,
)

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
