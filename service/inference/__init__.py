"""The data plane: a request's values in, an answer's values out, whatever the wire."""
