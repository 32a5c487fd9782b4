"""Small sample media files, generated on demand: images, audio, video, PDFs and speech."""
