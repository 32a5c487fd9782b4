"""Files to Documents: a folder, a glob, a list of paths or blobs."""

from langchain_gemini_mm.loaders.bucket_files import BucketFiles
from langchain_gemini_mm.loaders.cost_plan import Plan, Share, plan
from langchain_gemini_mm.loaders.media_loader import MediaLoader
from langchain_gemini_mm.loaders.segmentation import Segments
from langchain_gemini_mm.loaders.walk import Skipped

__all__ = ["BucketFiles", "MediaLoader", "Plan", "Segments", "Share", "Skipped", "plan"]
