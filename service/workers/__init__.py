"""`--workers N`: processes that share one port, and the parent that watches over them."""
