"""What dialects read alike in an answer: bodies, event streams, headers."""
