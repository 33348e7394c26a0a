"""What people see and do, as typed functions: terminal, page, reports and scripts are skins over them.

The way to a node is an `access.Access`, by its configuration; functions take it and return dataclasses.

- Views: `view.node_state` (the node's state, `model`; `NodeView` for who looks again and again), `sources`,
  `studies`, `images` of a study, `deliveries` (with the reason why each waits), `parked` by reason (with what
  helps, `cures`),
  `timeline` of one image, its `header` before and after, `header_changes` of many in numbers, `counts` by
  day and month,
  `webhooks` and their messages; of a file: `explain`; of
  this installation: `configuration`, `doctor`, `plugins`, `echo`, `trial` of a webhook.
- `actions` on deliveries (retry, hold, release, prioritize, reroute, dismiss), which say how many and where
  to before they do anything (`dry_run`); `orders` to the node (reload), `stop`; `send`.
- A re-route is by a `directive` (today's rules, one of them, none; what is corrected) and may have a name
  (`jobs`); `corrections` lists what was corrected; `listed` reads lists of images; `export` writes
  images into a folder, `fetch` gets studies from a PACS; `backup` copies a node, `restore` puts it
  back; `support` makes a bundle for the vendor; `completion` is what shells complete.
- `keys` of projects, by which images are de-identified, and UIDs forward and back by them.
- `selection` is the grammar of what is chosen, as options and as a line; `events` and `journal` say what
  happened, `feed` as it happens, `brief` says a state in one line, `answer` makes JSON, `errors` are what
  people get wrong.

Nothing here draws or asks.
"""
