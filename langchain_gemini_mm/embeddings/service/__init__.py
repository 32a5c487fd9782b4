"""Calls to the Gemini API and Vertex AI; the only importer of google-genai."""
