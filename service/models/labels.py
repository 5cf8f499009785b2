"""Which version each label means: those set at run time, which are kept in a file, and those a model's file declares.

The invariant: a label moves only to a version that is READY, and a call by label is never answered by another version
than the one it points to. What is set at run time is on disk before the caller hears of it; a label that the model's
file declares can only be changed there. Owned by the registry; belongs to the event loop.
"""

import asyncio
import json
import os
import re
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, Final

from service.errors import LabelRefused, ModelNotFound, ServiceError, SettingsError

STATE_FILE: Final = "labels.json"

_LABEL: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_Table = dict[str, dict[str, int]]


def check_label(label: str, problem: type[ServiceError]) -> None:
    """Raises `problem` unless it can be a label. A number can't: protocols with one field for both need to tell."""
    if not _LABEL.fullmatch(label) or label.isdigit():
        raise problem(
            f"{label[:150]!r} can't be a version label: it must be 1 to 128 of A-Z, a-z, 0-9, _, . and -, and no number"
        )


class Labels:
    """The labels of every model. `state` is the folder in which they outlive the process, None for memory only."""

    def __init__(self, state: Path | None) -> None:
        """Reads what was kept. Raises SettingsError where the folder can't be used or its file is damaged."""
        self._file = None if state is None else state / STATE_FILE
        self._set: _Table = {} if self._file is None else _load(self._file)
        self._declared: _Table = {}
        self._declared_at: _Table = {}
        self._changing = asyncio.Lock()
        self._leaving: tuple[str, int | None] = ("", None)
        self._changes: set[asyncio.Task[int | None]] = set()

    def of(self, model: str) -> Mapping[str, int]:
        """Every label of a model and the version it points to, which need not be READY (yet)."""
        return self._set.get(model, {}) | self._declared_at.get(model, {})

    def meant(self, model: str) -> Mapping[str, int]:
        """The same with the declared labels that point nowhere yet, as no version was READY for them."""
        return {**self._declared.get(model, {}), **self.of(model)}

    def wanted(self, model: str) -> frozenset[int]:
        """The versions that are kept loaded for a label: what it points to, is to move to, or may yet return to."""
        wanted = {*self.of(model).values(), *self._declared.get(model, {}).values()}
        leaving, version = self._leaving
        if leaving == model and version is not None:
            wanted.add(version)
        return frozenset(wanted)

    def declare(self, model: str, labels: Mapping[str, int]) -> None:
        """Takes what the model's file says; `settle` moves the labels there."""
        self._declared[model] = dict(labels)
        at = self._declared_at.get(model, {})
        # A label that is new here starts from where it was set at run time, if it was, or else nowhere.
        at = self._set.get(model, {}) | at
        self._declared_at[model] = {name: at[name] for name in labels if name in at}

    def settle(self, model: str, ready: Callable[[int], bool]) -> list[tuple[str, int]]:
        """Moves declared labels to their versions where those are READY; gives the labels that stay where they were."""
        behind = []
        at = self._declared_at.get(model, {})
        for label, version in self._declared.get(model, {}).items():
            if ready(version):
                at[label] = version
            elif at.get(label) != version:
                behind.append((label, version))
        return behind

    async def put(self, model: str, label: str, version: int, check: Callable[[], None]) -> int | None:
        """Points a label at a version; gives where it pointed before. `check` raises unless the version may have it.

        Raises LabelRefused where the model's file declares it, ServiceError where it can't be kept: then nothing moved.
        """
        return await self._in_turn(self._change(model, label, version, check))

    async def delete(self, model: str, label: str) -> int:
        """Removes a label; gives where it pointed. Raises as `put`, and ModelNotFound where there is none."""

        def check() -> None:
            if label not in self.of(model):
                raise unknown(model, label, self.of(model))

        before = await self._in_turn(self._change(model, label, None, check))
        assert before is not None  # noqa: S101 - `check` found it
        return before

    async def _in_turn(self, change: Coroutine[None, None, int | None]) -> int | None:
        """One change after the other, each to its end even when its caller leaves: a file half-moved helps nobody."""

        async def locked() -> int | None:
            async with self._changing:
                return await change

        task = asyncio.get_running_loop().create_task(locked())
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)
        return await asyncio.shield(task)

    async def _change(self, model: str, label: str, version: int | None, check: Callable[[], None]) -> int | None:
        """Memory first, so that nothing is unloaded while the file is written; taken back where that fails."""
        if label in self._declared.get(model, {}):
            raise LabelRefused(f"label {label!r} of model {model!r} is declared in its convoy.toml; change it there")
        check()
        before = self._set.get(model, {}).get(label)
        self._leaving = (model, before)
        self._point(model, label, version)
        try:
            if self._file is not None:
                await asyncio.to_thread(_keep, self._file, _text(self._set))
        except OSError as error:
            self._point(model, label, before)
            raise ServiceError(
                f"the labels can't be kept in {self._file}: {error.strerror}; label {label!r} was not moved"
            ) from error
        finally:
            self._leaving = ("", None)
        return before

    def _point(self, model: str, label: str, version: int | None) -> None:
        of = self._set.setdefault(model, {})
        if version is not None:
            of[label] = version
        else:
            of.pop(label, None)
        if not of:
            del self._set[model]


def unknown(model: str, label: str, labels: Mapping[str, int]) -> ModelNotFound:
    """The error for a label that the model does not have; lists those it has."""
    has = ", ".join(f"{name} -> {labels[name]}" for name in sorted(labels)) or "none"
    return ModelNotFound(f"model {model!r} has no version label {label!r}; it has: {has}")


def _keep(file: Path, text: str) -> None:
    """Writes the file so that a crash at any moment leaves the old one or the new one."""
    new = file.with_suffix(".new")
    with new.open("w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    new.replace(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _text(table: _Table) -> str:
    return json.dumps(table, indent=1, sort_keys=True) + "\n"


def _load(file: Path) -> _Table:
    """What was kept; writes it back at once, so that a folder that can't be written is a start-up mistake."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        table = _checked(json.loads(file.read_bytes())) if file.exists() else {}
        _keep(file, _text(table))
    except OSError as error:
        raise SettingsError(
            f"--state {file.parent} can't be used: {error.strerror}; choose a folder to write in"
        ) from error
    except ValueError as error:
        raise SettingsError(f"{file} is damaged ({error}); mend it, or remove it and set the labels again") from error
    return table


def _checked(table: Any) -> _Table:
    """Raises ValueError unless it is model -> label -> version."""
    if not isinstance(table, dict) or not all(isinstance(of, dict) for of in table.values()):
        raise ValueError("it is not an object of objects")
    for of in table.values():
        for label, version in of.items():
            if not _LABEL.fullmatch(label) or not isinstance(version, int) or isinstance(version, bool):
                raise ValueError(f"label {label!r} points to {version!r}")
    return table
