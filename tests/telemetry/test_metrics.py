"""What the metrics promise: one registry a server, one state a version, nothing left of a version that is gone."""

from service.telemetry.metrics import STATES, Metrics

TINY = {"model": "tiny", "version": "1"}


def test_two_servers_do_not_share_their_counts():
    one, other = Metrics(), Metrics()
    one.version("tiny", 1).images.inc(5)
    other.version("tiny", 1)
    assert one.registry.get_sample_value("convoy_images_total", TINY) == 5
    assert other.registry.get_sample_value("convoy_images_total", TINY) == 0


def test_a_version_is_in_one_state():
    metrics = Metrics()
    for state in STATES:
        metrics.state("tiny", 1, state)
        values = [metrics.registry.get_sample_value("convoy_model_state", TINY | {"state": each}) for each in STATES]
        assert values == [each == state for each in STATES]


def test_what_a_version_has_now_is_forgotten_and_what_it_counted_stays():
    metrics = Metrics()
    version = metrics.version("tiny", 1)
    version.images.inc(5)
    version.pending.set(2)
    metrics.state("tiny", 1, "READY")
    metrics.loaded("tiny", 1, 0.5)
    metrics.forget("tiny", 1)
    kept = {
        sample.name
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.labels.items() >= TINY.items()
    }
    assert "convoy_images_total" in kept
    assert kept.isdisjoint({"convoy_pending_images", "convoy_model_state", "convoy_model_load_seconds"})


def test_a_version_that_never_loaded_is_forgotten_too():
    metrics = Metrics()
    metrics.state("tiny", 1, "UNAVAILABLE")
    metrics.forget("tiny", 1)
    assert metrics.registry.get_sample_value("convoy_model_state", TINY | {"state": "UNAVAILABLE"}) is None


def test_the_process_is_measured_beside_the_models():
    names = {family.name for family in Metrics().registry.collect()}
    assert {"process_resident_memory_bytes", "process_cpu_seconds", "process_open_fds"} <= names
