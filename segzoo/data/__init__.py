"""Data: formats on disk, procedural scenes, transforms, loaders, and the scan that finds faults before step 0."""
