"""From data to a published bundle: datasets, architectures, training, export with proof, evaluation, publishing."""
