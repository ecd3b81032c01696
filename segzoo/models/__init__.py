"""Networks written from scratch, one paper per file."""
