"""Files to Documents: a folder, a glob, a list of paths or blobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_gemini_mm.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from langchain_gemini_mm.loaders.bucket_files import BucketFiles
    from langchain_gemini_mm.loaders.cost_plan import Plan, Share, plan
    from langchain_gemini_mm.loaders.media_loader import MediaLoader
    from langchain_gemini_mm.loaders.segmentation import Segments
    from langchain_gemini_mm.loaders.walk import Skipped

__all__ = ["BucketFiles", "MediaLoader", "Plan", "Segments", "Share", "Skipped", "plan"]

if not TYPE_CHECKING:
    __getattr__ = lazy_exports(
        __name__,
        {
            "bucket_files": ["BucketFiles"],
            "cost_plan": ["Plan", "Share", "plan"],
            "media_loader": ["MediaLoader"],
            "segmentation": ["Segments"],
            "walk": ["Skipped"],
        },
    )
