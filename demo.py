"""The whole way, on real data: train, publish, serve, ask, compare. `make demo` runs it.

A CNN is trained on Fashion-MNIST and published as a bundle; a real server loads it; 1,000 held-out pictures go to it as
PNG bytes through the client, and what comes back must be what training's evaluation said of the same pictures.
"""

import argparse
import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table

import convoy

MODEL = "fashion_mnist"
PICTURES = 1000
CALLERS = 8
SHOWN = 10
METRICS = ("convoy_images_total", "convoy_batch_size_count", "convoy_compute_seconds_sum", "convoy_queue_seconds_sum")

console = Console(highlight=False, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class Asked:
    """What the server said of the pictures, in order, and how long each call took in milliseconds."""

    answers: list["convoy.Classification"]
    milliseconds: list[float]
    seconds: float


def main() -> int:
    """Runs every step; 0 when the served answers are those that training measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out"), help="where models and logs go")
    out = parser.parse_args().out
    repository = out / "models"
    step("Train a CNN on Fashion-MNIST and publish it as a bundle")
    train(repository)
    step("Serve it")
    with server(repository, out / "serve.log") as (address, metrics_url):
        step(f"Classify {PICTURES} held-out pictures, sent as PNG bytes by {CALLERS} callers")
        bundle = latest(repository / MODEL)
        pictures, truth = held_out()
        asked = ask(address, pictures)
        agreed = report(asked, truth, bundle)
        compare_with_keras(address, bundle)
        show_metrics(metrics_url)
    console.print("Server stopped cleanly.")
    step("To go on")
    tell_next(bundle)
    return 0 if agreed else 1


def step(text: str) -> None:
    """Announces what comes next."""
    console.print(f"\n[bold cyan]== {text}[/]")


def train(repository: Path) -> None:
    """Trains and publishes in a process of its own, as a user would."""
    subprocess.run(
        [program("convoy"), "train", MODEL, "--preset", "quick", "--repository", str(repository)], check=True
    )


@contextmanager
def server(repository: Path, log: Path) -> Iterator[tuple[str, str]]:
    """A server from READY to a clean stop; gives its address and its metrics' URL."""
    command = [program("convoy"), "serve", "--repository", str(repository), "--state", str(repository.parent / "state")]
    command += ["--port", "0", "--metrics-port", "0"]
    began = time.monotonic()
    with log.open("w") as lines:
        process = subprocess.Popen([*command, "--host", "127.0.0.1", "--log-format", "json"], stderr=lines)
    try:
        ports = listening(process, log)
        address = f"127.0.0.1:{ports['grpc_port']}"
        wait_until_ready(process, address, log)
        console.print(f"READY at {address} after {time.monotonic() - began:.2f} s, log in {log}")
        yield address, f"http://127.0.0.1:{ports['http_port']}/metrics"
        process.send_signal(signal.SIGTERM)
        if code := process.wait(60):
            raise SystemExit(f"the server ended with {code}: see {log}")
    finally:
        process.kill()
        process.wait()


def listening(process: "subprocess.Popen[bytes]", log: Path) -> dict[str, int]:
    """Waits for the log's line that tells the ports. What else libraries write there is no JSON."""
    while process.poll() is None:
        for line in log.read_text().splitlines():
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("event") == "listening":
                return {name: event[name] for name in ("grpc_port", "http_port")}
        time.sleep(0.02)
    raise SystemExit(f"the server ended at its start: see {log}")


def wait_until_ready(process: "subprocess.Popen[bytes]", address: str, log: Path) -> None:
    """Asks grpc.health.v1 until it says SERVING."""
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with grpc.insecure_channel(address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(
            health_pb2.HealthCheckRequest(), timeout=60, wait_for_ready=True
        )
        with suppress(grpc.RpcError):  # the time is over, or the server is gone
            for reply in watch:
                if reply.status == health_pb2.HealthCheckResponse.SERVING:
                    return
    raise SystemExit(f"the server did not become READY (exit code {process.poll()}): see {log}")


def held_out() -> tuple[list[bytes], list[str]]:
    """The first test pictures as PNG files, and their labels."""
    from training.datasets import load

    folder = os.environ.get("CONVOY_DATA")
    dataset = load(MODEL, Path(folder) if folder else None)
    encoded = []
    for pixels in dataset.test.images[:PICTURES]:
        file = io.BytesIO()
        Image.fromarray(pixels[:, :, 0]).save(file, "PNG")
        encoded.append(file.getvalue())
    return encoded, [dataset.class_names[label] for label in dataset.test.labels[:PICTURES]]


def ask(address: str, pictures: list[bytes]) -> Asked:
    """One call a picture, several at a time."""
    milliseconds = []
    with convoy.Client(address) as client, ThreadPoolExecutor(CALLERS) as callers:

        def classify(picture: bytes) -> "convoy.Classification":
            began = time.perf_counter()
            answer = client.classify(picture, model=MODEL, top_k=3)
            milliseconds.append((time.perf_counter() - began) * 1e3)
            return answer

        began = time.perf_counter()
        answers = list(track(callers.map(classify, pictures), "asking", total=len(pictures), console=console))
        return Asked(answers, milliseconds, time.perf_counter() - began)


def report(asked: Asked, truth: list[str], bundle: Path) -> bool:
    """Prints answers against truth and the served accuracy against training's; whether every answer agrees."""
    table = Table("picture", "truth", "served", "probability")
    for number, (answer, label) in enumerate(zip(asked.answers[:SHOWN], truth, strict=False)):
        best = answer.best
        table.add_row(
            str(number), label, best.label if best.label == label else f"[red]{best.label}[/]", f"{best.score:.3f}"
        )
    console.print(table)
    served = [answer.best.label for answer in asked.answers]
    trained = evaluated(bundle)
    served_accuracy, trained_accuracy = accuracy(served, truth), accuracy(trained, truth)
    same = sum(one == other for one, other in zip(served, trained, strict=True))
    p50, p99 = np.percentile(asked.milliseconds, (50, 99))
    console.print(
        f"[bold]accuracy on these {len(served):,} of the test pictures: {served_accuracy:.3f} as served, "
        f"{trained_accuracy:.3f} as training measured it[/]"
    )
    console.print(f"{same:,} of {len(served):,} answers are the class that training's evaluation gave the same picture")
    console.print(
        f"{len(served) / asked.seconds:.0f} pictures/s by {CALLERS} callers; a call took {p50:.1f} ms in the median, "
        f"{p99:.1f} ms at the 99th percentile"
    )
    return served_accuracy == trained_accuracy and same == len(served)


def compare_with_keras(address: str, bundle: Path) -> None:
    """Asks for the golden pictures and prints how far any probability is from what Keras's `predict` gave."""
    from bundle import store

    version = store.open_bundle(bundle)
    [spec] = version.manifest.signature.inputs
    [(_, predicted)] = version.golden_outputs().items()
    labels = version.labels(version.manifest.heads[0].name)
    pictures = version.golden_images(spec.name)
    with convoy.Client(address) as client:
        answers = [client.classify(picture, model=MODEL, top_k=len(labels)) for picture in pictures]
    served = [[{each.label: each.score for each in answer.classes}[label] for label in labels] for answer in answers]
    difference = np.abs(np.array(served) - predicted).max()
    console.print(
        f"{len(pictures)} golden pictures: served probabilities differ from Keras's predict by {difference:.1e} at most"
    )


def accuracy(answers: list[str], truth: list[str]) -> float:
    """The share of answers that are true."""
    return sum(answer == label for answer, label in zip(answers, truth, strict=True)) / len(truth)


def evaluated(bundle: Path) -> list[str]:
    """What training's evaluation of the exported model answered for the same pictures."""
    with (bundle / "report" / "predictions.csv").open(newline="") as file:
        rows = csv.DictReader(file)
        return [row["predicted"] for _, row in zip(range(PICTURES), rows, strict=False)]


def show_metrics(url: str) -> None:
    """Prints the server's own count of what it did, the golden pictures that were asked about last included."""
    console.print("\nSome of the server's own metrics: pictures, batches, seconds of computing and of waiting in all")
    with urllib.request.urlopen(url, timeout=5) as page:  # noqa: S310 - the loopback server started above
        for line in page.read().decode().splitlines():
            if line.startswith(METRICS):
                console.print(f"  {line}", markup=False)


def tell_next(bundle: Path) -> None:
    """What a person may do with what is there now; every line can be run as it stands."""
    console.print(f"The report, for a browser: {bundle / 'report' / 'index.html'}")
    console.print("[bold]make serve[/] serves what was published until Ctrl-C. In another shell:")
    if os.environ.get("VIRTUAL_ENV") != sys.prefix:  # another one may be active
        console.print(f"  . {Path(sys.prefix) / 'bin' / 'activate'}", markup=False)
    console.print(f"  convoy classify {bundle / 'golden' / 'image-00.png'} --server localhost:8500", markup=False)


def latest(model: Path) -> Path:
    """The version that was just published."""
    from bundle import store

    return store.resolve(model)


def program(name: str) -> str:
    """A command of this environment."""
    return str(Path(sys.executable).with_name(name))


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    raise SystemExit(main())
