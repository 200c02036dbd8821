"""The content of a page, without its form: sections of text, tables, charts and pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(frozen=True)
class Text:
    """Paragraphs; with `warns`, of what the reader should act on."""

    kind: ClassVar[str] = "text"
    lines: Sequence[str]
    warns: bool = False


@dataclass(frozen=True)
class Facts:
    """Names with one value each."""

    kind: ClassVar[str] = "facts"
    values: Mapping[str, str]


@dataclass(frozen=True)
class Cell:
    """A cell of a table; `about` is a smaller line below, `colour` (#RRGGBB) a mark before it."""

    text: str
    strong: bool = False
    about: str = ""
    colour: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of as many cells as `head` has; `numeric` aligns all columns but the first right."""

    kind: ClassVar[str] = "table"
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    numeric: bool = False


@dataclass(frozen=True)
class Curve:
    """A line of a chart: its `y` over each of the page's axes, by the axis's key."""

    name: str
    x: Mapping[str, Sequence[float]]
    y: Sequence[float]
    colour: str = ""
    """#RRGGBB; empty for the next one of the page's colours."""
    about: str = ""
    """What a hovering pointer shows beside the name."""


@dataclass(frozen=True)
class Chart:
    """Curves over a common axis. Curves of one name have one entry in the legend."""

    title: str
    unit: str
    curves: Sequence[Curve]
    log: bool = False


@dataclass(frozen=True)
class Charts:
    """Charts beside or below each other."""

    kind: ClassVar[str] = "charts"
    charts: Sequence[Chart]


@dataclass(frozen=True)
class Series:
    """Pictures of one kind over time, as data URIs; None where a moment has none."""

    title: str
    pictures: Sequence[str | None]


@dataclass(frozen=True)
class Slides:
    """Series that a slider moves through together; `moments` has a caption for each position."""

    kind: ClassVar[str] = "slides"
    moments: Sequence[str]
    series: Sequence[Series]


@dataclass(frozen=True)
class Picture:
    """A picture as a data URI; `about` describes it for those who do not see it."""

    kind: ClassVar[str] = "picture"
    uri: str
    about: str


@dataclass(frozen=True)
class Folded:
    """Blocks that are shown when the reader opens them."""

    kind: ClassVar[str] = "folded"
    title: str
    blocks: "Sequence[Block]"


Block = Text | Facts | Table | Charts | Slides | Picture | Folded


@dataclass(frozen=True)
class Section:
    """A part of the page under its title."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """A whole page. `axes` names the axes that all its curves have, the first one shown first."""

    title: str
    summary: str
    highlights: Mapping[str, str]
    """The few numbers at its head."""
    sections: Sequence[Section]
    axes: Mapping[str, str] = field(default_factory=dict)


def all_blocks(blocks: "Sequence[Block]") -> "list[Block]":
    """Blocks in their order, each folded one followed by its own."""
    found: list[Block] = []
    for block in blocks:
        found.append(block)
        if isinstance(block, Folded):
            found += all_blocks(block.blocks)
    return found
