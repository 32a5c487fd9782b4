"""Audio and video: reading, segmenting, cutting and encoding."""
