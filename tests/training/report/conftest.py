"""The small networks of the drawings' tests are also those of the reports'."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "visualize"))
