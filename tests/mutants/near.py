"""Which tests are near which modules: those that are about them and take milliseconds rather than seconds.

A module belongs to the longest entry that its path begins with. What is slower (nodes, real peers, kills) is
not here: a mutant that only such a test would notice counts as a survivor, and gets a fast test.
"""

NEAR: dict[str, tuple[str, ...]] = {
    "mapdr/deliver/settle": (
        "tests/deliver/test_decide.py",
        "tests/deliver/test_leases.py",
        "tests/deliver/test_settlements.py",
        "tests/deliver/test_deliverer.py",
        "tests/deliver/test_batches.py",
    ),
    "mapdr/deliver/feed": (
        "tests/deliver/test_feeder.py",
        "tests/deliver/test_scheduler.py",
        "tests/deliver/test_preparer.py",
        "tests/deliver/test_ready.py",
        "tests/deliver/test_batches.py",
        "tests/deliver/test_deliverer.py",
    ),
    "mapdr/deliver/send": (
        "tests/deliver/test_breaker.py",
        "tests/deliver/test_batches.py",
        "tests/deliver/test_blame.py",
        "tests/deliver/test_deliverer.py",
    ),
    "mapdr/store/queue": (
        "tests/store/test_ledger.py",
        "tests/store/test_inhand.py",
        "tests/store/test_priority.py",
        "tests/store/test_repeats.py",
        "tests/store/test_counts.py",
        "tests/store/test_figures.py",
        "tests/store/test_study_events.py",
        "tests/store/test_reroute.py",
        "tests/store/test_actions.py",
        "tests/store/test_jobs.py",
        "tests/store/test_writer.py",
        "tests/deliver/test_settlements.py",
    ),
    "mapdr/store/spool": (
        "tests/store/test_spool.py",
        "tests/store/test_durable.py",
        "tests/store/test_claim.py",
        "tests/store/test_filemeta.py",
        "tests/store/test_ids.py",
        "tests/store/test_room.py",
        "tests/store/test_recover.py",
        "tests/store/test_journal.py",
        "tests/store/test_journal_record.py",
        "tests/store/test_journal_store.py",
        "tests/receive/test_runs.py",
    ),
    "mapdr/store/recover": (
        "tests/store/test_recover.py",
        "tests/store/test_moving.py",
        "tests/store/test_journal_store.py",
    ),
    "mapdr/store": (
        "tests/store/test_writer.py",
        "tests/store/test_outbox.py",
        "tests/store/test_retention.py",
        "tests/store/test_erasure.py",
        "tests/store/test_clock.py",
        "tests/store/test_study_events.py",
        "tests/store/test_unrouted.py",
    ),
    "mapdr/receive/dicom": (
        "tests/receive/test_dimse.py",
        "tests/receive/test_gate.py",
        "tests/receive/test_rejections.py",
        "tests/receive/test_runs.py",
    ),
    "mapdr/receive/dicomweb": (
        "tests/receive/dicomweb/test_parts.py",
        "tests/receive/dicomweb/test_login.py",
        "tests/receive/dicomweb/test_stow.py",
        "tests/receive/dicomweb/test_hostile.py",
    ),
    "mapdr/receive/folder": (
        "tests/receive/folder/test_archive.py",
        "tests/receive/folder/test_receiver.py",
    ),
    "mapdr/receive": ("tests/receive/test_rejections.py",),
    "mapdr/transform/encode": (
        "tests/transform/test_plan.py",
        "tests/transform/test_targets.py",
        "tests/transform/test_methods.py",
        "tests/transform/test_forecast.py",
        "tests/transform/test_search.py",
        "tests/transform/test_ssim.py",
        "tests/transform/test_quality.py",
        "tests/transform/test_native.py",
        "tests/transform/test_recompress.py",
        "tests/transform/test_compress.py",
    ),
    "mapdr/transform/pipeline": (
        "tests/transform/test_pipeline.py",
        "tests/transform/test_recipe_faults.py",
    ),
    "mapdr/wire/status": ("tests/wire/test_status.py",),
}
