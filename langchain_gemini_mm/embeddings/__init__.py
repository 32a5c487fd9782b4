"""Gemini embeddings: settings, preparation, pipeline and the service behind them."""
