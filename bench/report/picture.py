"""Pictures of the report: horizontal bars as SVG that is read as text, in light and dark."""
import html
import math

ROW, BAR, LEFT, WIDTH, RIGHT = 26, 16, 250, 420, 130
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2933 }
  .title { font-weight: 600 } .value, .axis { font-size: 12px } .axis { fill: #66727f }
  .ours { fill: #2563a8 } .other { fill: #a9b4c0 } .grid { stroke: #d5dbe1 } .back { fill: #ffffff }
  @media (prefers-color-scheme: dark) {
    text { fill: #e4e8ec } .axis { fill: #9aa5b1 } .ours { fill: #6aa5e8 } .other { fill: #5d6976 } .grid { stroke: #3b444d } .back { fill: #161b20 }
  }
"""


def short(value):
    """1234567 as "1.23 M"."""
    for limit, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:.3g}"


def position(value, least, most, logarithmic):
    if logarithmic:
        return WIDTH * math.log(value / least) / math.log(most / least)
    return WIDTH * value / most


def marks(most, least, logarithmic):
    """Where the grid stands: powers of ten, or four steps of 1, 2 or 5."""
    if logarithmic:
        return [10.0**power for power in range(math.ceil(math.log10(least)), math.floor(math.log10(most)) + 1)]
    step = 10 ** math.floor(math.log10(most))
    step = next(step * part for part in (0.1, 0.2, 0.5, 1, 2, 5) if most / (step * part) <= 5)
    return [step * number for number in range(int(most / step) + 1)]


def bars(title, rows, unit, logarithmic=False):
    """rows: (label, value, whether it is ours). The text of an SVG file."""
    rows = [row for row in rows if row[1]]
    most = max(value for _, value, _ in rows) * 1.05
    least = min(value for _, value, _ in rows) / 2
    height = 46 + ROW * len(rows) + 26
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + RIGHT} {height}" role="img" aria-label="{html.escape(title)}">',
           f"<style>{STYLE}</style>", f'<rect class="back" width="{LEFT + WIDTH + RIGHT}" height="{height}"/>',
           f'<text class="title" x="12" y="24">{html.escape(title)}</text>']
    for mark in marks(most, least, logarithmic):
        x = LEFT + position(mark, least, most, logarithmic) if mark > 0 else LEFT
        out.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="38" y2="{height - 26}"/>'
                   f'<text class="axis" x="{x:.1f}" y="{height - 10}" text-anchor="middle">{short(mark)}</text>')
    for number, (label, value, ours) in enumerate(rows):
        y = 42 + ROW * number
        width = max(position(value, least, most, logarithmic), 1)
        out.append(f'<text x="{LEFT - 10}" y="{y + 13}" text-anchor="end">{html.escape(label)}</text>'
                   f'<rect class="{"ours" if ours else "other"}" x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR}" rx="2"/>'
                   f'<text class="value" x="{LEFT + width + 6:.1f}" y="{y + 13}">{short(value)}{html.escape(unit)}</text>')
    return "\n".join(out) + "\n</svg>\n"
