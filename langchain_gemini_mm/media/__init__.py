"""Media files: measuring, converting, and reading the text in them."""
