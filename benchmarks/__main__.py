"""`make bench`: the server beside the raw runtime, on the model that `make demo` published, in one run.

Columns: requests/s, latency, server CPU a request, and that CPU as a multiple of the raw limit's CPU for the same
pictures (decode at one picture a time plus the runtime at its best batch size, one thread). Compare ratios, not
figures: machines differ and are noisy.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from benchmarks import account, load
from benchmarks.limit import Limit, decode_limit, runtime_limits
from bundle import store
from bundle.errors import BundleError
from bundle.preprocessing import decode
from bundle.store import Bundle
from protos.classifier.v1 import classifier_pb2 as pb

console = Console(highlight=False)
NARROW: dict[str, Any] = {"box": SIMPLE, "pad_edge": False, "collapse_padding": True}  # fits 80 columns


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("out/models/fashion_mnist"), help="a published model")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of each measurement")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    try:
        bundle = store.open_bundle(store.resolve(options.model))
    except BundleError as error:
        raise SystemExit(f"make bench: {error}; `make demo` publishes the model that is measured") from error
    picture = bundle.golden_images(bundle.manifest.signature.inputs[0].name)[0]
    before, began = account.busy_seconds(), time.monotonic()
    decoding = decode_limit(bundle, picture, options.seconds / 2)
    limits = runtime_limits(bundle, 1, options.seconds / 4)
    show_limits(limits, decoding)
    rows = measure(bundle, picture, options.seconds)
    show_loads(rows, min(limits, key=lambda limit: limit.cpu_us), decoding)
    cores = (account.busy_seconds() - before) / (time.monotonic() - began)
    console.print(f"load generator: {load.generator()}; cores busy on average, everything on this machine: {cores:.1f}")
    if options.json:
        figures = {"limits": [asdict(each) for each in limits], "decode": asdict(decoding)}
        options.json.write_text(json.dumps(figures | {"loads": [asdict(row[-1]) | {"what": row[0]} for row in rows]}))


Row = tuple[str, int, bool, int, load.Load]
"""What was sent, pictures a call, whether encoded, calls in flight, what was measured."""


def measure(bundle: Bundle, picture: bytes, seconds: float) -> list[Row]:
    """Every load against one server."""
    (spec,) = bundle.manifest.preprocessing
    pixels = decode(picture, spec)
    tensor = pb.Tensor(dtype=str(pixels.dtype), shape=[1, *pixels.shape], data=pixels.tobytes())
    one_tensor = request(bundle, pb.Input(tensor=tensor))
    one_picture = request(bundle, pb.Input(images=[picture]))
    many = request(bundle, pb.Input(images=[picture] * 64))
    plans = [("one tensor", one_tensor, 1, False, flight) for flight in (1, 8, 32)]
    plans += [("one picture", one_picture, 1, True, flight) for flight in (1, 32)]
    plans += [("64 pictures", many, 64, True, 4)]
    with served(bundle) as target:
        return [
            (what, count, encoded, flight, load.run(target, body, flight, seconds))
            for what, body, count, encoded, flight in plans
        ]


def request(bundle: Bundle, values: pb.Input) -> bytes:
    """A call for the five best classes."""
    return pb.ClassifyRequest(model=pb.ModelSpec(name=bundle.name), inputs=[values]).SerializeToString()


@contextmanager
def served(bundle: Bundle) -> Iterator[load.Target]:
    """`convoy serve` on the bundle's repository, READY with a plan that was measured before: it is shown."""
    convoy = str(Path(sys.executable).with_name("convoy"))
    with tempfile.TemporaryDirectory() as state:
        subprocess.run([convoy, "plan", str(bundle.path), "--profile-seconds", "10", "--state", state], check=True)
        command = [convoy, "serve", "--repository", str(bundle.path.parent.parent), "--state", state]
        command += ["--host", "127.0.0.1", "--port", "0", "--metrics-port", "0", "--log-format", "json"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            ports = listening_and_ready(process.stderr or (), bundle.name)
            address = f"127.0.0.1:{ports['grpc_port']}"
            yield load.Target(address, f"http://127.0.0.1:{ports['http_port']}/metrics", process.pid)
        finally:
            process.terminate()
            process.communicate(timeout=60)


def listening_and_ready(log: Iterable[str], model: str) -> dict[str, int]:
    """Reads the server's log until the model is READY; the event that tells the ports. SystemExit where it is not."""
    ports: dict[str, int] = {}
    line = ""
    for line in log:
        event = json.loads(line) if line.startswith("{") else {}
        ports = event if event.get("event") == "listening" else ports
        match event.get("model"), event.get("state"):
            case (name, "READY") if name == model:
                return ports
            case (name, "UNAVAILABLE") if name == model:
                break
    raise SystemExit(f"make bench: the server does not serve {model!r}, its last words are: {line}")


def show_limits(limits: list[Limit], decoding: Limit) -> None:
    """The raw figures of this run."""
    table = Table("raw limit, one thread", "batch", "images/s", "CPU us/image", **NARROW)
    for limit in limits:
        table.add_row("ONNX Runtime", str(limit.batch), f"{limit.images_per_second:.0f}", f"{limit.cpu_us:.1f}")
    table.add_row("decode + resize", "1", f"{decoding.images_per_second:.0f}", f"{decoding.cpu_us:.1f}")
    console.print(table)


def show_loads(rows: list[Row], best: Limit, decoding: Limit) -> None:
    """The server's figures, beside the limit for the same pictures."""
    headers = ("sent", "at once", "images/s", "p50 ms", "p99 ms", "CPU us/image", "x limit", "RSS MiB")
    table = Table(*headers, **NARROW)
    for what, count, encoded, flight, found in rows:
        limit = best.cpu_us + (decoding.cpu_us if encoded else 0)
        cpu = found.server_cpu_us / count
        cells = (found.requests_per_second * count, found.p50, found.p99, cpu, cpu / limit, found.resident_mb)
        formats = ("{:.0f}", "{:.2f}", "{:.2f}", "{:.1f}", "{:.2f}", "{:.0f}")
        table.add_row(what, str(flight), *(form.format(cell) for form, cell in zip(formats, cells, strict=True)))
    console.print(table)


if __name__ == "__main__":
    main()
