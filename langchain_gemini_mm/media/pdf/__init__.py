"""PDF documents: pages, text and page images."""
