"""The one plug point: what executes a variant of a bundle on a device."""
