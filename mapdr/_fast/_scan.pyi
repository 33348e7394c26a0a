from mapdr._fast._scan_py import Buffer
from mapdr._fast.scan_tables import MAX_DEPTH, MAX_ELEMENTS, Element, Tree, Values, Walk

def walk(
    buffer: Buffer,
    available: int,
    size: int,
    flags: int,
    wanted: Tree,
    *,
    beyond: bool,
    max_value: int,
    max_depth: int = MAX_DEPTH,
    max_elements: int = MAX_ELEMENTS,
) -> Walk: ...
def collect(
    buffer: Buffer,
    available: int,
    size: int,
    flags: int,
    wanted: Tree,
    *,
    beyond: bool,
    max_value: int,
) -> tuple[Values, Walk]: ...
def elements(
    buffer: Buffer,
    offset: int,
    end: int,
    flags: int,
    *,
    base: int = 0,
    within: int = -1,
    nested: bool = False,
) -> tuple[list[Element], int, int]: ...
