"""The vectors of the emulator: concepts, and what media files show."""
