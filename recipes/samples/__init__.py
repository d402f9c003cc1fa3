"""The verb sample: light enough to start at once, so apart from what trains."""
