"""Serves bundles over gRPC in dynamic batches, and classifies whole data sets with the same parts."""
