"""Keeping an index equal to folders."""

from langchain_gemini_mm.sync.report import LibraryStatus, MirrorPlan, MirrorReport

__all__ = ["LibraryStatus", "MirrorPlan", "MirrorReport"]
