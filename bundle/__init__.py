"""The contract between training, which writes bundles, and the service, which reads them.

A leaf: NumPy, Pillow and msgspec only. Decode, resize and top-k are here and nowhere else, so that a served answer is
made exactly as the evaluated one was.
"""
