"""Data sets on disk: one file for each layout of folders."""
