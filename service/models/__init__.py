"""Which versions exist, what state each is in, and who is using them."""
