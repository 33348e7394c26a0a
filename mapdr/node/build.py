"""Builds receivers, destinations and webhooks of a node on its open store: at its start, and for a reload."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mapdr.config.model import NodeConfig
from mapdr.config.site import site_key
from mapdr.deliver.feed.preparer import Preparer
from mapdr.deliver.permit import Permit
from mapdr.deliver.supervise.deliverer import Deliverer
from mapdr.kernel.budget import Budget
from mapdr.kernel.page import Page
from mapdr.kernel.registry import Registry
from mapdr.kernel.stage import Receiver, Settings
from mapdr.kernel.watch import Watch
from mapdr.node.plan import Plan, Planned
from mapdr.notify.notifier import Notifier
from mapdr.store import Store
from mapdr.transform.codecs.table import Codecs
from mapdr.transform.pipeline import build_pipeline
from mapdr.transform.scratch import FOLDER, emptied


class Builder:
    """What it builds shares the node's codec threads and its memory; none of it is started here."""

    def __init__(
        self, node: NodeConfig, registry: Registry, store: Store, watch: Watch, permit: Permit
    ) -> None:
        self._node = node
        self._permit = permit
        self._store = store
        self._watch = watch
        self._site_key = site_key(node.data)
        self._scratch = emptied(node.data / FOLDER / node.name)
        # As many as there are processors: with one more each frame is in the others' way in the caches, and
        # more images of a new series are encoded before its first has taught their level (record 106).
        preparers = node.workers
        self._pool = ThreadPoolExecutor(preparers, thread_name_prefix="prepare")
        settings = self._settings("transform")
        codecs = Codecs(registry, settings)
        self._preparer = Preparer(
            store.recipes,
            lambda recipe: build_pipeline(recipe, registry, settings, codecs),
            self._pool,
            share=preparers + 1,
            budget=Budget(node.memory),
            in_hand=store.in_hand,
        )

    def close(self) -> None:
        """End the codec threads; what waits for one is not prepared any more."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._preparer.close()

    def renew(self) -> None:
        """Read anew, before the next image, what recipes name outside of themselves."""
        self._preparer.renew()

    def receiver(self, planned: Planned) -> Receiver:
        """A receiver, not started."""
        receiver: Receiver = planned.factory.build(
            self._settings(planned.name), planned.config, self._store.spool
        )
        return receiver

    def deliverer(self, planned: Planned) -> Deliverer:
        """A destination, not started."""
        egress = planned.factory.build(self._settings(planned.name), planned.config, None)
        return Deliverer(
            planned.name,
            egress,
            self._store.ledger,
            self._preparer,
            owner=self._node.name,
            watch=self._watch,
            permit=self._permit,
        )

    def notifier(self, plan: Plan) -> Notifier:
        """The webhooks of `plan`, not started."""
        return Notifier(
            self._store.study_events,
            self._store.outbox,
            plan.webhooks,
            self._watch,
            node=plan.node.name,
            quiet_seconds=plan.node.study_quiet,
        )

    def page(self, planned: Planned, node: Any) -> Page:
        """The operators' page of `node`, not started."""
        page: Page = planned.factory.build(self._settings(planned.name), planned.config, node)
        return page

    def _settings(self, name: str) -> Settings:
        node = self._node
        return Settings(
            name=name,
            node=node.name,
            data=node.data,
            site_key=self._site_key,
            watch=self._watch,
            workers=node.workers,
            memory=node.memory,
            durability=node.durability,
            scratch=self._scratch,
            spare=node.min_free // 2,  # what is sent makes room: it goes on where nothing is taken
        )
