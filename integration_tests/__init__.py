"""Tests that need an API key or a Weaviate server."""
