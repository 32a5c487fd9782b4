"""Opening media files: what they are, how long, how large."""
