"""Charts as SVG: axes, lines, points and bars. Colours are classes, so that a page or a picture decides on light and dark."""

import html
import math
import re

# Colours apart for colour-blind eyes too (after Okabe and Ito), for light and for dark.
PALETTE = {
    "c0": ("#0072b2", "#56b4e9"),
    "c1": ("#d55e00", "#f08a3c"),
    "c2": ("#00856a", "#2fc79f"),
    "c3": ("#a6518a", "#dd8fc0"),
    "c4": ("#8a6d00", "#e6c13d"),
    "c5": ("#5b5b5b", "#b5b5b5"),
    "c6": ("#3a4fb0", "#98a8ff"),
    "c7": ("#7a3b12", "#d8a27c"),
}
BASE = {"ink": ("#1b1f24", "#e6e8eb"), "soft": ("#59636e", "#9aa4af"), "grid": ("#d8dde3", "#343b44"), "paper": ("#ffffff", "#14181d")}


def variables(index):
    return "".join(f"--{k}:{v[index]};" for k, v in {**PALETTE, **BASE}.items())


RULES = (
    "svg text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;fill:var(--ink)}"
    "svg .soft{fill:var(--soft)}svg .small{font-size:11px}svg .grid{stroke:var(--grid);stroke-width:1}"
    "svg .axis{stroke:var(--soft);stroke-width:1}svg .line{fill:none;stroke-width:2.2}svg .dash{stroke-dasharray:5 4}"
    + "".join(f"svg .s-{k}{{stroke:var(--{k})}}svg .f-{k}{{fill:var(--{k})}}" for k in PALETTE)
)
STYLE = f":root,svg{{{variables(0)}}}@media(prefers-color-scheme:dark){{:root,svg{{{variables(1)}}}}}{RULES}"


def text_width(text, size=12):
    return 0.56 * size * len(text)


def esc(text):
    return html.escape(str(text), quote=True)


def plain(v):
    if v >= 10000 and v % 100 == 0:
        return f"{v / 1000:g}k"
    return f"{v:,.0f}".replace(",", "\u2009") if v >= 1000 else f"{v:g}"


def ticks_linear(low, high, count=5):
    step = 10 ** math.floor(math.log10((high - low) / count)) if high > low else 1
    for factor in (1, 2, 5, 10):
        if (high - low) / (step * factor) <= count:
            step *= factor
            break
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, int(high / step + 1e-9) + 1)]


def ticks_log(low, high):
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    all_ticks = [m * 10**p for p in powers for m in (1, 2, 5) if low <= m * 10**p <= high * 1.0001]
    return all_ticks if len(all_ticks) <= 7 else [10**p for p in powers if low <= 10**p <= high * 1.0001]


class Chart:
    """A plot with axes in a box of WIDTH x HEIGHT units, made to be read at 340 pixels as well."""

    WIDTH, HEIGHT = 480, 330
    LEFT, RIGHT, TOP, BOTTOM = 56, 14, 22, 46

    def __init__(self, x, y, x_label, y_label, x_log=False, y_log=False, x_ticks=None, legend_rows=0):
        self.x, self.y, self.x_log, self.y_log = x, y, x_log, y_log
        self.top = self.TOP + 18 * legend_rows
        self.height = self.HEIGHT + 18 * legend_rows
        self.parts, self.legend = [], []
        self.axes(x_label, y_label, x_ticks)

    def px(self, v):
        low, high = self.x
        share = math.log(v / low) / math.log(high / low) if self.x_log else (v - low) / (high - low)
        return self.LEFT + share * (self.WIDTH - self.LEFT - self.RIGHT)

    def py(self, v):
        low, high = self.y
        share = math.log(v / low) / math.log(high / low) if self.y_log else (v - low) / (high - low)
        return self.height - self.BOTTOM - share * (self.height - self.BOTTOM - self.top)

    def axes(self, x_label, y_label, x_ticks):
        bottom, right = self.height - self.BOTTOM, self.WIDTH - self.RIGHT
        for v in ticks_log(*self.y) if self.y_log else ticks_linear(*self.y):
            y = self.py(v)
            self.parts.append(f'<line class="grid" x1="{self.LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
            self.parts.append(f'<text class="soft small" text-anchor="end" x="{self.LEFT - 6}" y="{y + 4:.1f}">{plain(v)}</text>')
        for v in x_ticks or (ticks_log(*self.x) if self.x_log else ticks_linear(*self.x)):
            x = self.px(v)
            self.parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{self.top}" y2="{bottom}"/>')
            self.parts.append(f'<text class="soft small" text-anchor="middle" x="{x:.1f}" y="{bottom + 16}">{plain(v)}</text>')
        self.parts.append(f'<path class="axis" fill="none" d="M{self.LEFT} {self.top}V{bottom}H{right}"/>')
        self.parts.append(f'<text class="soft" text-anchor="middle" x="{(self.LEFT + right) / 2:.0f}" y="{self.height - 8}">{esc(x_label)}</text>')
        middle = (self.top + bottom) / 2
        self.parts.append(f'<text class="soft" text-anchor="middle" transform="translate(13 {middle:.0f}) rotate(-90)">{esc(y_label)}</text>')

    def line(self, points, color, label=None, dash=False):
        d = "M" + "L".join(f"{self.px(x):.1f} {self.py(y):.1f}" for x, y in points)
        self.parts.append(f'<path class="line s-{color}{" dash" if dash else ""}" d="{d}"/>')
        if label:
            self.legend.append((color, label, "dash" if dash else "line"))

    def points(self, points, color, label=None, names=None, radius=4):
        for i, (x, y) in enumerate(points):
            tip = f"<title>{esc(names[i])}</title>" if names else ""
            self.parts.append(f'<circle class="f-{color}" cx="{self.px(x):.1f}" cy="{self.py(y):.1f}" r="{radius}">{tip}</circle>')
        if label:
            self.legend.append((color, label, "point"))

    def bars(self, points, color):
        """Deviations: (x, y, sd)."""
        for x, y, sd in points:
            low, high = max(self.y[0], y - sd), min(self.y[1], y + sd)
            x = self.px(x)
            self.parts.append(f'<path class="s-{color}" fill="none" d="M{x:.1f} {self.py(low):.1f}V{self.py(high):.1f}"/>')

    def note(self, x, y, text, color=None, anchor="start", dx=0, dy=0):
        style = f' class="small f-{color}"' if color else ' class="soft small"'
        self.parts.append(f'<text{style} text-anchor="{anchor}" x="{self.px(x) + dx:.1f}" y="{self.py(y) + dy:.1f}">{esc(text)}</text>')

    def legend_svg(self):
        x, y, out = self.LEFT, 14, []
        for color, label, kind in self.legend:
            width = 26 + text_width(label) + 12
            if x > self.LEFT and x + width > self.WIDTH:
                x, y = self.LEFT, y + 18
            if kind == "point":
                out.append(f'<circle class="f-{color}" cx="{x + 10}" cy="{y - 4}" r="4"/>')
            else:
                out.append(f'<path class="line s-{color}{" dash" if kind == "dash" else ""}" d="M{x} {y - 4}h20"/>')
            out.append(f'<text x="{x + 26}" y="{y}">{esc(label)}</text>')
            x += width
        return "".join(out)

    def svg(self, description):
        return wrap(self.WIDTH, self.height, description, "".join(self.parts) + self.legend_svg())


def wrap(width, height, description, inside):
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:.0f}" role="img" aria-label="{esc(description)}">{inside}</svg>'
    )


def literal(rules, index):
    return re.sub(r"var\(--(\w+)\)", lambda m: {**PALETTE, **BASE}[m[1]][index], rules)


def picture(svg):
    """A file of its own: with its ground, and with its colours in each rule, for viewers that are no browsers and know no variables."""
    head, rest = svg.split(">", 1)
    rules = RULES + "svg .paper{fill:var(--paper)}"
    style = f"{literal(rules, 0)}@media(prefers-color-scheme:dark){{{literal(rules, 1)}}}"
    return f'{head}><style>{style}</style><rect class="paper" width="100%" height="100%"/>{rest}\n'


def horizontal_bars(rows, description, most=100, unit="%", width=480, label_width=196):
    """rows: (label, value, text, colour). The text stands beside the bar; room for it is kept behind the longest."""
    height = 22 * len(rows) + 26
    room = width - label_width - 58
    reach = max((room * min(v, most) / most + 6.5 * len(t) for _, v, t, _ in rows), default=0)
    room = max(60, room - max(0, reach - room - 53))
    out = []
    for mark in (0, 25, 50, 75, 100) if most == 100 else ticks_linear(0, most):
        x = label_width + room * mark / most
        out.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="4" y2="{height - 20}"/>')
        out.append(f'<text class="soft small" text-anchor="middle" x="{x:.1f}" y="{height - 5}">{plain(mark)}{" " + unit if unit else ""}</text>')
    for i, (label, value, text, color) in enumerate(rows):
        y = 22 * i + 6
        fits = int((label_width - 10) / 6.15)
        short = label if len(label) <= fits else label[: fits - 1] + "…"
        out.append(f'<text class="small" text-anchor="end" x="{label_width - 6}" y="{y + 12}">{esc(short)}<title>{esc(label)}</title></text>')
        out.append(f'<rect class="f-{color}" x="{label_width}" y="{y}" width="{max(1, room * min(value, most) / most):.1f}" height="16" rx="2"><title>{esc(label)}: {esc(text)}</title></rect>')
        out.append(f'<text class="small" x="{label_width + room * min(value, most) / most + 5:.1f}" y="{y + 12}">{esc(text)}</text>')
    return wrap(width, height, description, "".join(out))


def stacked_bar(parts, description, width=480):
    """parts: (label, share, colour), shares adding up to 1; a legend below with the shares."""
    x, out = 0.0, []
    for label, share, color in parts:
        w = share * width
        out.append(f'<rect class="f-{color}" x="{x:.1f}" y="0" width="{max(0, w - 1):.1f}" height="34" rx="2"><title>{esc(label)}: {100 * share:.1f} %</title></rect>')
        x += w
    column, row = 0, 0
    for label, share, color in parts:
        lx, ly = column * width / 2, 54 + row * 19
        out.append(f'<rect class="f-{color}" x="{lx:.0f}" y="{ly - 10}" width="12" height="12" rx="2"/>')
        out.append(f'<text x="{lx + 18:.0f}" y="{ly}">{esc(label)} {100 * share:.1f} %</text>')
        column, row = (1, row) if column == 0 else (0, row + 1)
    rows = (len(parts) + 1) // 2
    return wrap(width, 54 + 19 * rows, description, "".join(out))
