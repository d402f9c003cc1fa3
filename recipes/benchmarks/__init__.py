"""The verb `benchmark` of each recipe, with its opponents."""
