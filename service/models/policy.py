"""Which of a model's published versions are to be loaded: the latest few, all, or the ones that are named.

Only the rule and its text form; labels keep versions beyond it (`service.models.labels`). Pure. Read from the settings
by the server and from a model's `convoy.toml` by `service.models.modelfile`.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Self

from service.errors import SettingsError

ALLOWED: Final = 'latest:N, all, or specific:N,N,... as in "latest:2" or "specific:1,3"'

_NUMBER: Final = "[1-9][0-9]{0,17}"  # as the repository numbers versions
_LATEST: Final = re.compile(f"latest(?::({_NUMBER}))?")
_SPECIFIC: Final = re.compile(f"specific:({_NUMBER}(?:,{_NUMBER})*)")


@dataclass(frozen=True, slots=True)
class Policy:
    """The `latest` so many versions, or the `specific` ones, or all where both are None."""

    latest: int | None = None
    specific: frozenset[int] | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads "latest" (one), "latest:N", "all" or "specific:N,N,...". Raises SettingsError."""
        if text == "all":
            return cls()
        if match := _LATEST.fullmatch(text):
            return cls(latest=int(match[1] or 1))
        if match := _SPECIFIC.fullmatch(text):
            return cls(specific=frozenset(map(int, match[1].split(","))))
        raise SettingsError(f"version policy {text!r} is not known; it is one of {ALLOWED}")

    def choose(self, published: Collection[int]) -> frozenset[int]:
        """The versions to load out of those that are published."""
        if self.specific is not None:
            return self.specific.intersection(published)
        return frozenset(sorted(published)[-self.latest :] if self.latest else published)
