"""Images: decoding, orientation and conversion."""
