"""Sample media files: images, recordings, PDFs and speech, small and made on the spot."""
