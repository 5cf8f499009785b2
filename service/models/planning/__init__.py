"""The plan of a version: which engine runs which variant, with how many threads and instances, in what batches."""
