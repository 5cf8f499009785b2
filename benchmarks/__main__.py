"""`make bench`: the server beside the raw runtime, on the reference models, in one run; the parts can be had alone.

Every part prints the raw limit and the server's figures as multiples of it, measured one after the other. Compare the
ratios, not the figures: machines differ, and are noisy.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from benchmarks import account, answers, arrivals, load, models, peers, starts
from benchmarks.limit import Limit, decode_limit, pipeline_limit, runtime_limits
from benchmarks.serving import served
from bundle.preprocessing import decode
from bundle.store import Bundle
from protos.classifier.v1 import classifier_pb2 as pb

IN_FLIGHT = (1, 8, 32, 256)
LATENCY_TARGET_MS = 50.0
CORES = len(os.sched_getaffinity(0))
STARTS = 7

console = Console(highlight=False)
NARROW: dict[str, Any] = {"box": SIMPLE, "pad_edge": False, "collapse_padding": True}  # fits 80 columns
Figures = dict[str, Any]


def main() -> None:
    """Measures and prints the parts that were asked for."""
    options = _options()
    figures: Figures = {}
    before, began = account.busy_seconds(), time.monotonic()
    for name in options.part or PARTS:
        bundle = models.reference(MODELS[name], options.models)
        console.rule(f"{name}: {bundle.name}", style="dim")
        figures[name] = PARTS[name](bundle, options)
    cores = (account.busy_seconds() - before) / (time.monotonic() - began)
    console.print(f"load generator: {load.generator()}; cores busy on average, everything on this machine: {cores:.1f}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("part", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}; else all of them")
    parser.add_argument("--models", type=Path, default=Path("out/bench"), help="where the reference models are kept")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each measurement")
    parser.add_argument("--peer", type=peers.peer, action="append", default=[], help="NAME=HOST:PORT,PID[,MODEL]")
    parser.add_argument("--serve", default="", help="more options for convoy serve, in one string")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    if unknown := set(options.part) - PARTS.keys():
        parser.error(f"there is no part {', '.join(sorted(unknown))}; choose from {', '.join(PARTS)}")
    return options


def calls(bundle: Bundle, options: argparse.Namespace) -> Figures:
    """Small calls in a closed loop: what the server adds to a fast model, by calls in flight, and the peers'."""
    picture = models.thumbnail(0)
    limits, decoding = _show_limits(bundle, picture, options.seconds / 4)
    best = min(limits, key=lambda limit: limit.cpu_us)
    table = Table("sent", "at once", "images/s", "p50 ms", "p99 ms", "CPU us/image", "x limit", "RSS MiB", **NARROW)
    figures = []

    def row(what: str, found: load.Load, images: int, flight: int, limit_us: float) -> None:
        cpu = found.server_cpu_us / images
        cells = (found.requests_per_second * images, found.p50, found.p99, cpu, cpu / limit_us, found.resident_mb)
        formats = ("{:.0f}", "{:.2f}", "{:.2f}", "{:.1f}", "{:.2f}", "{:.0f}")
        table.add_row(what, str(flight), *(form.format(cell) for form, cell in zip(formats, cells, strict=True)))
        figures.append({"sent": what, "at_once": flight, "images": images, **asdict(found)})

    with served(bundle, options.serve.split()) as target:
        one = _request(bundle, _tensor(bundle, picture))
        for flight in IN_FLIGHT:
            row("one tensor", load.run(target, one, flight, options.seconds), 1, flight, best.cpu_us)
        for what, count, flight in (("one picture", 1, 1), ("one picture", 1, 32), ("64 pictures", 64, 4)):
            body = _request(bundle, pb.Input(images=[picture] * count))
            found = load.run(target, body, flight, options.seconds)
            row(what, found, count, flight, best.cpu_us + decoding.cpu_us)
    for other in options.peer:
        body = peers.request(other, decode(picture, bundle.manifest.preprocessing[0]))
        for flight in IN_FLIGHT:
            found = load.run(other.target, body, flight, options.seconds)
            row(f"tensor: {other.name}", found, 1, flight, best.cpu_us)
    console.print(table)
    return {"limits": [asdict(limit) for limit in limits], "decode": asdict(decoding), "loads": figures}


def photos(bundle: Bundle, options: argparse.Namespace) -> Figures:
    """JPEG photos in a closed loop: how much of the machine's decode-and-run limit the server gives.

    Once with the plan that is as exact as fp32, once with the one that it picks where it may pick a faster variant; and
    how often the two answer alike.
    """
    pictures = models.photos(options.models)
    _show_limits(bundle, pictures[0], options.seconds / 4)
    limit = pipeline_limit(bundle, pictures[0], CORES, options.seconds)
    headers = ("one photo a call", "at once", "images/s", "of limit", "x exact", "p50 ms", "p99 ms", "RSS MiB")
    table = Table(*headers, **NARROW)
    table.add_row(f"raw, {CORES} threads, batch {limit.batch}", "", f"{limit.images_per_second:.0f}", "100%")
    exact, classes = _photos(bundle, options, "exact", pictures)
    faster, others = _photos(bundle, options, "auto", pictures)
    for precision, found in (("exact", exact), ("auto", faster)):
        for flight, each in found.items():
            rate = each.requests_per_second
            of_limit, ratio = rate / limit.images_per_second, rate / exact[flight].requests_per_second
            speed = (f"{rate:.0f}", f"{of_limit:.0%}", f"{ratio:.2f}")
            latency = (f"{each.p50:.1f}", f"{each.p99:.1f}")
            table.add_row(f"precision {precision}", str(flight), *speed, *latency, f"{each.resident_mb:.0f}")
    console.print(table)
    alike = answers.agreement(classes, others)
    console.print(f"precision auto answers {alike:.1%} of {len(pictures)} photos, asked over the wire, like exact")
    loads = {"exact": exact, "auto": faster}
    return {
        "limit": asdict(limit),
        "agreement": alike,
        "loads": [
            {"precision": name, "at_once": flight, **asdict(each)}
            for name, found in loads.items()
            for flight, each in found.items()
        ],
    }


def _photos(
    bundle: Bundle, options: argparse.Namespace, precision: str, pictures: Sequence[bytes]
) -> tuple[dict[int, load.Load], list[str]]:
    """The load by calls in flight, and the best class of every picture."""
    body = _request(bundle, pb.Input(images=[pictures[0]]))
    with served(bundle, ["--precision", precision, *options.serve.split()]) as target:
        found = {flight: load.run(target, body, flight, options.seconds) for flight in (1, 8, 32)}
        return found, answers.best_classes(target, bundle.name, pictures)


def overload(bundle: Bundle, options: argparse.Namespace) -> Figures:
    """Poisson arrivals of photos at 70% and 300% of capacity, each call with the latency target as its deadline."""
    body = _request(bundle, pb.Input(images=[models.photos(options.models)[0]]))
    headers = ("load", "calls/s", "answered/s", "refused", "expired", "p50 ms", "p99 ms", "sent late", "generator")
    table = Table(*headers, "RSS MiB", **NARROW)
    figures = []
    with served(bundle, options.serve.split()) as target:
        capacity = load.run(target, body, 16, options.seconds).requests_per_second
        table.add_row("closed, 16", "", f"{capacity:.0f}")
        for share in (0.7, 1.0, 3.0):
            found = arrivals.run(target, body, capacity * share, options.seconds * 2, LATENCY_TARGET_MS)
            cells = (f"{found.rate:.0f}", f"{found.goodput:.0f}", f"{found.refused:.1%}", f"{found.expired:.1%}")
            times = (f"{found.p50:.1f}", f"{found.p99:.1f}")
            costs = (f"{found.late:.1%}", f"{found.generator:.0%}", f"{found.resident_mb:.0f}")
            table.add_row(f"{share:.0%}", *cells, *times, *costs)
            figures.append({"share": share, **asdict(found)})
    console.print(table)
    return {"capacity": capacity, "loads": figures}


def start(bundle: Bundle, options: argparse.Namespace) -> Figures:
    """The server's process from its start to its first answer, and its memory."""
    found = starts.starts(bundle, _request(bundle, _tensor(bundle, models.thumbnail(0))), STARTS, options.serve.split())
    seconds, memory = [each.seconds for each in found], [each.resident_mb for each in found]
    table = Table("starts", "median s", "least s", "most s", "RSS MiB", **NARROW)
    spread = (f"{median(seconds):.2f}", f"{min(seconds):.2f}", f"{max(seconds):.2f}", f"{median(memory):.0f}")
    table.add_row(str(STARTS), *spread)
    console.print(table)
    return {"starts": [asdict(each) for each in found]}


PARTS: dict[str, Callable[[Bundle, argparse.Namespace], Figures]] = {
    "calls": calls,
    "photos": photos,
    "overload": overload,
    "start": start,
}
MODELS = {"calls": "small", "photos": "mobilenet_v2", "overload": "mobilenet_v2", "start": "small"}


def _show_limits(bundle: Bundle, picture: bytes, seconds: float) -> tuple[list[Limit], Limit]:
    limits, decoding = runtime_limits(bundle, 1, seconds), decode_limit(bundle, picture, seconds)
    table = Table("raw limit, one thread", "batch", "images/s", "CPU us/image", **NARROW)
    for limit in limits:
        table.add_row("ONNX Runtime", str(limit.batch), f"{limit.images_per_second:.0f}", f"{limit.cpu_us:.1f}")
    table.add_row("decode + resize", "1", f"{decoding.images_per_second:.0f}", f"{decoding.cpu_us:.1f}")
    console.print(table)
    return limits, decoding


def _tensor(bundle: Bundle, picture: bytes) -> pb.Input:
    pixels = decode(picture, bundle.manifest.preprocessing[0])[np.newaxis]
    return pb.Input(tensor=pb.Tensor(dtype=str(pixels.dtype), shape=pixels.shape, data=pixels.tobytes()))


def _request(bundle: Bundle, values: pb.Input) -> bytes:
    """A call for the five best classes."""
    return pb.ClassifyRequest(model=pb.ModelSpec(name=bundle.name), inputs=[values]).SerializeToString()


if __name__ == "__main__":
    main()
