#!/usr/bin/env python3
"""Draws what peers.py --json measured: tests/bench/figure.py FILE.json -o FILE.svg

Left the time of one step, with the limit that was measured beside ours; right the rate of many
streams over their number. Both scales are logarithmic. Needs nothing but Python.
"""

import argparse
import json
import math
import pathlib
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 1040, 400
TOP, BOTTOM = 56, 340
BARS = (236, 470)    # x of the left plot
LINES = (590, 830)   # and of the right one
OURS = ("#08519c", "#3182bd", "#6baed6", "#41ab5d")
OTHERS = ("#636363", "#d95f02", "#e6ab02", "#a6761d", "#7570b3")


class Log:
    """A logarithmic axis over the values, with some room at both ends."""

    def __init__(self, values, place, room=0.0):
        low, high = math.log10(min(values)), math.log10(max(values))
        self.low, self.high = low - room, high + room
        self.place = place

    def __call__(self, value):
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return self.place[0] + share * (self.place[1] - self.place[0])

    def decades(self):
        return [10.0 ** k for k in range(math.ceil(self.low), math.floor(self.high) + 1)]


def text(x, y, content, anchor="start", size=12, color="#222", weight="normal"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{color}" '
            f'font-weight="{weight}">{escape(content)}</text>')


def line(x1, y1, x2, y2, color="#ddd", width=1.0):
    return (f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}" '
            f'stroke-width="{width}"/>')


def number(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def bars(peers, colors):
    values = [p["p50_us"] for p in peers] + [p["limit_us"] for p in peers if p["limit_us"]]
    axis = Log(values, BARS, 0.2)
    out = [text(20, 30, "One step, one stream: p50 in µs", size=15, weight="bold")]
    for tick in axis.decades():
        out += [line(axis(tick), TOP, axis(tick), BOTTOM), text(axis(tick), BOTTOM + 18, f"{tick:,.0f}", "middle")]
    pitch = (BOTTOM - TOP) / len(peers)
    for i, peer in enumerate(peers):
        y, end = TOP + i * pitch + pitch * 0.18, axis(peer["p50_us"])
        out.append(f'<rect x="{BARS[0]}" y="{y:.1f}" width="{end - BARS[0]:.1f}" height="{pitch * 0.64:.1f}" '
                   f'fill="{colors[i]}"/>')
        out += [text(BARS[0] - 8, y + pitch * 0.45, peer["name"], "end"),
                text(end + 6, y + pitch * 0.45, number(peer["p50_us"]))]
        if peer["limit_us"]:
            x = axis(peer["limit_us"])
            out.append(line(x, y - 2, x, y + pitch * 0.64 + 2, "#000", 2))
    out.append(text(BARS[0], BOTTOM + 38, "logarithmic; black: reading weights and state alone, same run", size=11))
    return out


def curves(peers, colors):
    streams = [int(b) for b in peers[0]["stream_steps_per_s"]]
    across = Log(streams, LINES)
    rates = [r / 1e3 for p in peers for r in p["stream_steps_per_s"].values()]
    up = Log(rates, (BOTTOM, TOP), 0.1)
    out = [text(LINES[0] - 30, 30, "Many streams, one thread: thousand steps/s", size=15, weight="bold")]
    for tick in up.decades():
        out += [line(LINES[0], up(tick), LINES[1], up(tick)), text(LINES[0] - 8, up(tick) + 4, f"{tick:g}", "end")]
    for b in streams:
        out += [line(across(b), TOP, across(b), BOTTOM), text(across(b), BOTTOM + 18, str(b), "middle")]
    out.append(text(sum(LINES) / 2, BOTTOM + 38, "streams stepped in one call", "middle", 11))
    ends = []
    for i, peer in enumerate(peers):
        points = [(across(int(b)), up(rate / 1e3)) for b, rate in peer["stream_steps_per_s"].items()]
        out.append(f'<polyline fill="none" stroke="{colors[i]}" stroke-width="2.2" points="'
                   + " ".join(f"{x:.1f},{y:.1f}" for x, y in points) + '"/>')
        out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colors[i]}"/>' for x, y in points]
        ends.append((points[-1][1], i))
    below = -math.inf
    for y, i in sorted(ends):  # labels apart
        below = max(below + 14, y)
        out.append(text(LINES[1] + 10, below + 4, short(peers[i]["name"]), color=colors[i]))
    return out


def short(name):
    return "official, eager" if name.startswith("official") else name.replace(" stateful", "")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("figures", type=pathlib.Path)
    parser.add_argument("-o", "--output", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    result = json.loads(arguments.figures.read_text())
    peers = result["peers"]
    ours = [p["name"].startswith("xst") for p in peers]
    colors = [OURS[i] if own else OTHERS[i - sum(ours)] for i, own in enumerate(ours)]
    about = f"README configuration (764,848 parameters), one thread; {result['machine']}; {result['method']}"
    body = bars(peers, colors) + curves(peers, colors) + [text(20, HEIGHT - 8, about, size=10, color="#555")]
    arguments.output.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="Helvetica, Arial, sans-serif">\n<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>\n'
        + "\n".join(body) + "\n</svg>\n")


if __name__ == "__main__":
    main()
