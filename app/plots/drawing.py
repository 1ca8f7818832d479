"""What all drawings share: colours that differ in grey too, fonts, and figures as bytes.  Loads matplotlib."""

import io
import logging
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from matplotlib import font_manager, rc_context
from matplotlib.figure import Figure

Format = Literal["svg", "png"]

DPI = 160  # of PNG: 1,024 pixels for 6.4 inches
INK, LINE, FAINT = "#1b2733", "#8a97a3", "#d8dee4"
USER, COURSE, CHOSEN = "#cfe3f7", "#2f6f4f", "#f2b24b"  # light, dark and middle grey in print
CATEGORY_COLOURS = ("#1f5a96", "#d9822b", "#2f7d4f", "#b23a6b", "#6b4fa0", "#00798c", "#8a6d1d", "#6a7680")
CATEGORY_MARKERS = ("o", "^", "D", "v", "P", "X", "*", "h")  # told apart without colour
FONTS = (  # each is asked for what those before it lack; DejaVu, which matplotlib brings, knows Arabic but no Chinese
    *("DejaVu Sans", "Noto Sans Arabic"),
    *("Noto Sans CJK SC", "Noto Sans SC", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "Droid Sans Fallback"),
    *("PingFang SC", "Hiragino Sans GB", "Hiragino Sans", "Apple SD Gothic Neo"),
    *("Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "Arial Unicode MS"),
)
STYLE: dict[Any, Any] = {
    "font.size": 11,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": INK,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "xtick.color": INK,
    "ytick.color": INK,
    "text.parse_math": False,  # a title may hold dollar signs
    "svg.fonttype": "none",  # text stays text: small files, and the viewer's fonts know Chinese and Arabic
    "svg.hashsalt": "coursegraph",  # equal points give equal files
}

MISSING = "Glyph .* missing from"

log = logging.getLogger(__name__)
_lock = threading.Lock()  # settings of matplotlib are one set for all threads


def render(draw: Callable[[], Figure], format_: Format) -> bytes:
    """The bytes of what ``draw`` draws; one at a time.

    Logs when a PNG lacks characters; whoever shows an SVG brings their own fonts.
    """
    with _lock, _style():
        figure = draw()
        buffer = io.BytesIO()
        metadata = {"Date": None} if format_ == "svg" else {"Software": None}
        with warnings.catch_warnings(record=True) as told:
            warnings.filterwarnings("always", message=MISSING)
            figure.savefig(buffer, format=format_, dpi=DPI, bbox_inches="tight", pad_inches=0.15, metadata=metadata)
    if format_ == "png" and any(re.match(MISSING, str(one.message)) for one in told):
        log.warning(
            "a PNG picture shows boxes for characters that no font here knows; install a font with them, "
            "such as Debian's fonts-wqy-microhei for Chinese, Japanese and Korean"
        )
    return buffer.getvalue()


@contextmanager
def _style() -> Iterator[None]:
    known = {font.name for font in font_manager.fontManager.ttflist}
    fonts = [*(name for name in FONTS if name in known), "sans-serif"]
    with rc_context({**STYLE, "font.family": fonts}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=MISSING)
        logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
        yield
