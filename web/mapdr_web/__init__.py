"""The operators' page and its API, served within the node's process: a skin over `mapdr.operate`.

`page` is the stage: its socket and its threads. `app` puts the parts together: `gate` lets requests in,
`sessions` and `throttle` say who it is, `api` is what can be asked for, `snapshots` is the node's state,
looked at once a second for all who watch.
"""
