"""Where each engine runs is its own: what one of them shows is not taken for the others'."""

import dataclasses
from typing import Any

import pytest
from bundles import make_bundle
from servers import settings

from service.models import loader
from service.models.loader import Loader
from service.models.planning import planner
from service.models.planning.process import Question
from service.runtimes.opening import open_runtime
from service.telemetry.metrics import Metrics

DEVICES = {"onnx": "cuda:0", "openvino": "cpu"}


class Said:
    """A runtime that says it is on another device."""

    def __init__(self, behind: Any, device: str) -> None:
        self.info = dataclasses.replace(behind.info, device=device)
        self.run, self.close = behind.run, behind.close


@pytest.fixture
def questions(monkeypatch) -> list[Question]:
    """What the profiler was asked; ONNX Runtime's models say they are on a GPU, OpenVINO's that they are on the CPU."""
    asked: list[Question] = []

    def opened(bundle: Any, *, engine: str, **options: Any) -> Any:
        return Said(open_runtime(bundle, engine="onnx", **options), DEVICES[engine])

    async def ask(question: Question) -> list:
        asked.append(question)
        return []

    monkeypatch.setattr(loader, "open_runtime", opened)
    monkeypatch.setattr(planner, "ask", ask)
    monkeypatch.setattr(planner, "installed", lambda: ["onnx", "openvino"])
    monkeypatch.setattr(planner, "usable_cores", lambda: 4)
    return asked


async def test_a_model_that_is_pinned_to_the_cpu_s_engine_does_not_move_the_others_there(tmp_path, questions):
    free, pinned = make_bundle(tmp_path / "models", "free"), make_bundle(tmp_path / "models", "pinned")
    chosen = settings(tmp_path / "models", device="auto", threads=0, profile_seconds=1.0, state=tmp_path / "state")
    loading = Loader(chosen, Metrics())
    one = await loading.load(free.path, {}, replaces=False)
    other = await loading.load(pinned.path, {"engine": "openvino"}, replaces=False)
    planning = loading._planner
    questions.clear()
    await planning.measure(planning.task(free, {}))
    await planning.measure(planning.task(pinned, {"engine": "openvino"}))
    on_gpu, on_cpu = questions[-2:]
    assert (on_gpu.device, on_cpu.device) == ("cuda:0", "cpu")
    assert {(setup.engine, setup.threads) for setup in on_gpu.setups} == {("onnx", 1)}
    assert {(setup.engine, setup.threads) for setup in on_cpu.setups} == {("openvino", count) for count in (1, 2, 4)}
    await loading.close()
    for servable in (one, other):
        await servable.batcher.stop()
