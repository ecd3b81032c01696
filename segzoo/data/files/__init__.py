"""Reading image and mask files."""
