"""The wire: gRPC servicers that turn messages into values, ask the data plane, and turn the answer back."""
