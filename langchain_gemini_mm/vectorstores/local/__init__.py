"""The local vector store: one SQLite file with exact search."""
