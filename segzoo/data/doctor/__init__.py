"""The data doctor: faults, statistics, advice, and the layout of a folder."""
