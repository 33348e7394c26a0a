"""A transform that paints a box over every frame, where a modality burns text into the pixels."""

from pydantic import Field

from mapdr.kernel.codec import FrameFormat, Pixels
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import Instance
from mapdr.kernel.stage import Factory, Settings, StageConfig
from mapdr.kernel.step import Changes, Phase, Reads


class BoxConfig(StageConfig):
    """`box = { left = 0, top = 0, width = 200, height = 24 }` in a rule; pixels, from the upper left."""

    left: int = Field(ge=0)
    top: int = Field(ge=0)
    width: int = Field(gt=0)
    height: int = Field(gt=0)


class Box:
    phase = Phase.PIXELS
    reads = Reads.FRAMES
    changes = Changes.PIXELS
    copies = 0

    def __init__(self, config: BoxConfig) -> None:
        self._rows = slice(config.top, config.top + config.height)
        self._columns = slice(config.left, config.left + config.width)

    def paint(self, frame: Pixels, form: FrameFormat, index: int, instance: Instance) -> Pixels:
        if form.rows < self._rows.stop or form.columns < self._columns.stop:
            raise Permanent("the box does not fit into the image; correct the rule", reason="box")
        painted = frame.copy()
        painted[self._rows, self._columns] = 0
        return painted


def build(settings: Settings, config: BoxConfig, next: None) -> Box:
    return Box(config)


STAGE = Factory("transform", "box", BoxConfig, build)
