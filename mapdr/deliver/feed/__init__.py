"""From the ledger to the ready queue: leases rows, and has their images prepared."""
