"""Moves ledger rows through transform and egress, and writes down what the receiver said.

A row ends as delivered only by the receiver's own final status. No destination waits for another; what
cannot be delivered is parked where a person sees it; no row is lost.

```
                 feed                                send                      settle
          Feeder   Scheduler                 Sender     OutcomeHandler         Leases   SettlementQueue
  ledger ---lease---> prepare ---> ReadyQueue ---take---> send, decide ---> settle ---write---> ledger
                         +--- what cannot be prepared -----------------------^

  supervise   Deliverer: starts and stops the three, renews leases, asks a receiver that was away
```
Each room imports only those to its right in the line `supervise, send, feed, settle`; images go from left to
right in the picture and never back but for those that a sender took and did not begin.
"""
