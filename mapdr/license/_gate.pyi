from collections.abc import Mapping
from datetime import datetime

from mapdr.license.standing import Record, Standing
from mapdr.license.token import License

def judge(
    token: str | None, facts: Mapping[str, str], now: datetime, record: Record | None
) -> tuple[Standing, Record | None]: ...
def verify(token: str) -> License: ...
