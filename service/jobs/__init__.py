"""Classifies whole data sets with the parts that the server uses, without a server."""
