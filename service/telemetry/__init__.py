"""What the server tells about itself: metrics, health over HTTP, and the log."""
