"""The node's state for Prometheus: numbers by receiver, destination, modality, state and reason, and nobody's
name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from mapdr.operate.brief import ready
from mapdr.operate.model import NodeState

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_COUNTERS = (
    ("receive.", ".stored", "mapdr_received_images", "Images that were answered Success.", "receiver"),
    ("receive.", ".refused", "mapdr_refused_images", "Images that were refused.", "receiver"),
    ("receive.", ".bytes", "mapdr_received_bytes", "Bytes of images that were taken.", "receiver"),
    ("deliver.", ".images", "mapdr_delivered_images", "Images that were confirmed.", "destination"),
    ("deliver.", ".bytes", "mapdr_delivered_bytes", "Bytes of images that were confirmed.", "destination"),
    ("deliver.", ".retries", "mapdr_delivery_retries", "Attempts that are made again.", "destination"),
    ("deliver.", ".parked", "mapdr_parked_deliveries", "Deliveries that were parked.", "destination"),
)
"""How a counter of the node begins and ends, and the metric that it becomes, with its label."""


def exposition(state: NodeState, counters: Mapping[str, float]) -> bytes:
    """The text that Prometheus reads; `counters` are the node's own since it started (`kernel.watch`)."""
    registry = CollectorRegistry()
    registry.register(_Once([*_counted(counters), *_gauges(state)]))
    return generate_latest(registry)


class _Once(Collector):
    def __init__(self, found: list[Metric]) -> None:
        self._found = found

    def collect(self) -> Iterator[Metric]:
        """See `Collector`."""
        yield from self._found


def _counted(counters: Mapping[str, float]) -> Iterator[Metric]:
    for start, end, name, words, label in _COUNTERS:
        family = CounterMetricFamily(name, words, labels=[label])
        for counter, value in sorted(counters.items()):
            if counter.startswith(start) and counter.endswith(end):
                family.add_metric([counter.removeprefix(start).removesuffix(end)], value)
        yield family


def _gauges(state: NodeState) -> Iterator[Metric]:
    yield GaugeMetricFamily("mapdr_ready", "1 while the node takes images.", value=float(ready(state)))
    yield GaugeMetricFamily("mapdr_unrouted_images", "Images that no rule takes.", value=state.unrouted)
    if state.node.disk_free is not None:
        yield GaugeMetricFamily("mapdr_disk_free_bytes", "Bytes that are free.", value=state.node.disk_free)
    open_ = GaugeMetricFamily("mapdr_associations", "Open associations.", labels=["receiver"])
    for receiver in state.node.receivers:
        if receiver.associations is not None:
            open_.add_metric([receiver.name], receiver.associations)
    yield open_
    yield from _of_destinations(state)
    needing = GaugeMetricFamily("mapdr_attention", "What needs a person.", labels=["kind", "level"])
    found: dict[tuple[str, str], int] = {}
    for item in state.attention:
        found[item.kind, item.level] = found.get((item.kind, item.level), 0) + 1
    for (kind, level), number in sorted(found.items()):
        needing.add_metric([kind, level], number)
    yield needing
    hooks = GaugeMetricFamily("mapdr_webhook_messages", "Messages of webhooks.", labels=["webhook", "state"])
    for hook in state.webhooks.hooks:
        hooks.add_metric([hook.name, "pending"], hook.pending)
        hooks.add_metric([hook.name, "parked"], hook.parked)
    yield hooks
    today = GaugeMetricFamily("mapdr_received_today", "Images of this local day.", labels=["modality"])
    for modality, counted in state.today.received.items():
        today.add_metric([modality], counted.images)
    yield today


def _of_destinations(state: NodeState) -> Iterator[Metric]:
    owed = GaugeMetricFamily("mapdr_deliveries", "Deliveries by state.", labels=["destination", "state"])
    parked = GaugeMetricFamily("mapdr_parked", "Parked deliveries.", labels=["destination", "reason"])
    oldest = GaugeMetricFamily(
        "mapdr_oldest_seconds", "How long the oldest delivery waits.", labels=["destination"]
    )
    down = GaugeMetricFamily("mapdr_destination_down", "1 while it is down.", labels=["destination"])
    for row in state.destinations:
        for word, number in (
            ("pending", row.pending),
            ("leased", row.leased),
            ("held", row.held),
            ("parked", row.parked),
        ):
            owed.add_metric([row.name, word], number)
        for reason, number in sorted(row.parked_reasons.items()):
            parked.add_metric([row.name, reason], number)
        oldest.add_metric([row.name], row.oldest_seconds or 0.0)
        down.add_metric([row.name], float(row.state == "down"))
    yield from (owed, parked, oldest, down)
