"""HTTP side of the emulator: requests and replies, the server, and the JSON of the embedding API."""
