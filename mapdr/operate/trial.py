"""Does a webhook's receiver take a message? A marked example is sent, and the answer told."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass

from mapdr.kernel.finding import instead
from mapdr.node.plan import Plan
from mapdr.notify.example import example
from mapdr.notify.post import HookPost
from mapdr.operate.errors import RequestError


@dataclass(frozen=True, slots=True)
class Trial:
    """What the receiver of the webhook `name` made of an example of `event`.

    `status` is the HTTP status (None without an answer), `comment` says why it was not taken.
    """

    name: str
    event: str
    taken: bool
    status: int | None
    comment: str
    milliseconds: float


def trial(plan: Plan, name: str) -> Trial:
    """Send one example, with `"test": true` in it, as the node would send it. Nothing is tried again.

    Raises RequestError for an unknown name.
    """
    hooks = plan.webhooks
    if name not in hooks:
        raise RequestError(
            f'there is no webhook "{name}"; {instead(name, hooks, "webhooks")}', field="webhook"
        )
    post = HookPost(name, hooks[name])
    started = time.perf_counter()
    try:
        body = example(hooks[name], plan.node.name)
        answer = post.send(f"msg_test_{uuid.uuid4().hex}", body)
    finally:
        post.close()
    milliseconds = round((time.perf_counter() - started) * 1000, 1)
    return Trial(name, hooks[name].on[0], answer.taken, answer.status, answer.comment, milliseconds)
