"""Files to Documents: a folder, a glob, a list of paths or blobs."""

from langchain_gemini_mm.loaders.media_loader import MediaLoader
from langchain_gemini_mm.loaders.scanning import Skipped
from langchain_gemini_mm.loaders.segments import Segments

__all__ = ["MediaLoader", "Segments", "Skipped"]
