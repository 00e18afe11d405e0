"""A figure as a file, SVG or PNG, with the table of what it draws as CSV beside it."""

from __future__ import annotations

from pathlib import Path

from aftercar.errors import AftercarError, InputError, OptionError
from aftercar.files import write_text, write_whole
from aftercar.frames import labelled
from aftercar.report.figures.draw import Figure
from aftercar.report.svg import FONTS, alone

ZOOM = 3.0  # px of a picture for each of the figure: 900 are 2,700, some 15 cm at 450 dots an inch
ENDINGS = (".svg", ".png")


def save(figure: Figure, out: Path, *, simulated: bool = False) -> Path:
    """Write a figure and, beside it, its data; returns where the data are.

    Raises:
        OptionError: the ending is neither .svg nor .png.
        InputError: the folder cannot be written.
        AftercarError: a PNG, without the library that draws one.
    """
    kind = out.suffix.lower()
    if kind not in ENDINGS:
        raise OptionError(f"{out.name}: the ending says the format, and it is .svg or .png.")
    placed(out)
    text = alone(figure.svg, figure.title)
    picture = png(text) if kind == ".png" else b""
    data = out.with_suffix(".csv")
    write_text(data, labelled(figure.data, simulated).write_csv())
    if kind == ".png":
        write_whole(out, lambda path: Path(path).write_bytes(picture))
    else:
        write_text(out, text)
    return data


def placed(out: Path) -> None:
    """Refuse a file that has no place.

    Raises:
        InputError: its folder is not there, or it is a folder itself.
    """
    if out.is_dir() or not out.parent.is_dir():
        raise InputError(f"{out} cannot be written: name a file in a folder that is there.")


def png(svg: str, zoom: float = ZOOM) -> bytes:
    """A figure that stands alone as a picture.

    Raises:
        AftercarError: without the library that draws one, or without a font: it would leave all text out and say nothing.
    """
    try:
        from resvg_py import svg_to_bytes
    except ImportError:
        raise AftercarError(
            "PNG needs the extra: pip install 'aftercar[figures]'. Without it, name a file that ends with .svg."
        ) from None
    probe = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 20 20" font-family="{FONTS}"><text y="15">'
    if svg_to_bytes(svg_string=f"{probe}M</text></svg>") == svg_to_bytes(svg_string=f"{probe}</text></svg>"):
        raise AftercarError(
            "A PNG needs a font, and none is installed that is known: DejaVu Sans, Liberation Sans, Noto Sans or Arial, such as Debian's fonts-dejavu-core."
        )
    return svg_to_bytes(svg_string=svg, zoom=zoom, background="white")
