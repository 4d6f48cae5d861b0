#!/usr/bin/env python3
"""Draws compare.py's JSON as SVG: how many times as fast as its peers tern is, and what share of the roof both reach.

  plots.py FIGURES.json [MORE.json ...] --into docs/figures

Writes ratios.svg and, where shares were measured, roof.svg. Cases of several files stand one below the other. The standard library alone.
"""
import argparse
import json
import math
import os
from xml.sax.saxutils import escape

# key -> (word, colour): the same in both plots
METRICS = {"prefill_tokens_per_s": ("prefill", "#3b6ea8"), "decode_tokens_per_s": ("decode", "#d08a2e"),
           "latency_ms": ("latency", "#4d8b57")}
PEER_COLOUR, INK, FAINT = "#b5b5b5", "#222222", "#dddddd"
LABELS, BARS, VALUES, BAR, GAP, TOP = 370, 440, 70, 13, 9, 58


class Drawing:
  def __init__(self, title, subtitle):
    self.parts, self.y, self.title, self.subtitle = [], TOP, title, subtitle

  def text(self, x, y, words, size=12, anchor="start", colour=INK, weight="normal"):
    self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{colour}" '
                      f'font-weight="{weight}">{escape(words)}</text>')

  def bar(self, x, y, width, height, colour):
    self.parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{height:.1f}" '
                      f'fill="{colour}"/>')

  def line(self, x, y0, y1, colour):
    self.parts.append(f'<line x1="{x:.1f}" y1="{y0:.1f}" x2="{x:.1f}" y2="{y1:.1f}" stroke="{colour}"/>')

  def svg(self, scale, ticks):
    """`scale` maps a value to 0..1 of the bars' width; ticks: (value, words)."""
    width, height = LABELS + BARS + VALUES, self.y + 34
    head = Drawing("", "")
    head.text(12, 22, self.title, size=15, weight="bold")
    head.text(12, 40, self.subtitle, size=11)
    for value, words in ticks:
      x = LABELS + BARS * scale(value)
      head.line(x, TOP - 6, self.y, INK if words == "1" else FAINT)
      head.text(x, self.y + 14, words, size=11, anchor="middle")
    x = LABELS
    for word, colour in METRICS.values():
      head.bar(x, self.y + 21, 10, 10, colour)
      head.text(x + 14, self.y + 30, word, size=11)
      x += 90
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height:.0f}" '
                      f'viewBox="0 0 {width} {height:.0f}" font-family="Helvetica, Arial, sans-serif">',
                      f"<title>{escape(self.title)}</title>",
                      f'<rect width="{width}" height="{height:.0f}" fill="#ffffff"/>',
                      *head.parts, *self.parts, "</svg>", ""])


def rows(records):
  """(case, peer, record) of what was measured."""
  return [(r["case"], peer, r) for r in records if "error" not in r for peer in r["peers"]]


def draw_ratios(records, subtitle):
  """Bars from 1 on a logarithmic axis: twice as fast and half as fast are equally long."""
  found = [(case, peer, [(METRICS[k], m["ratios"][peer]) for k, m in r["metrics"].items()
                         if k in METRICS and peer in m["ratios"]]) for case, peer, r in rows(records)]
  values = [v for _, _, bars in found for _, v in bars]
  if not values:
    return None
  low, high = min(0.5, *values), max(2.0, *values) * 1.05

  def scale(value):
    return math.log(value / low) / math.log(high / low)
  d = Drawing("Speed of tern over its peers' (right of 1: tern is faster)", subtitle)
  for case, peer, bars in found:
    d.text(LABELS - 8, d.y + 11, f"{case} / {peer}", size=11, anchor="end")
    for (_, colour), value in bars:
      start, end = sorted((scale(1), scale(value)))
      d.bar(LABELS + BARS * start, d.y, BARS * (end - start), BAR, colour)
      d.text(LABELS + BARS * end + 4, d.y + 11, f"{value:.2f}", size=11)
      d.y += BAR + 1
    d.y += GAP
  return d.svg(scale, [(t, f"{t:g}") for t in (0.25, 0.5, 1, 1.5, 2, 3, 4, 6, 8, 12) if low <= t <= high])


def draw_shares(records, subtitle):
  """tern's share of the roof in colour, the peer's below it in grey."""
  found = [(case, peer, [(METRICS[k], m["shares"]["tern"], m["shares"].get(peer)) for k, m in r["metrics"].items()
                         if k in METRICS and "tern" in m["shares"]]) for case, peer, r in rows(records)]
  values = [side["median"] for _, _, bars in found for _, *sides in bars for side in sides if side]
  if not values:
    return None
  high = max(1.0, *values) * 1.02
  d = Drawing("Share of the roof: tern in colour, its peer in grey",
              subtitle + "; decode: plain reads, else: multiply-adds")
  for case, peer, bars in found:
    d.text(LABELS - 8, d.y + 11, f"{case} / {peer}", size=11, anchor="end")
    for (_, colour), ours, theirs in bars:
      for side, fill in ((ours, colour), (theirs, PEER_COLOUR)):
        if side:
          d.bar(LABELS, d.y, BARS * side["median"] / high, BAR - 3, fill)
          d.text(LABELS + BARS * side["median"] / high + 4, d.y + 9, f"{100 * side['median']:.0f} %", size=10)
          d.y += BAR - 2
      d.y += 2
    d.y += GAP
  return d.svg(lambda v: v / high, [(t / 100, f"{t} %") for t in (0, 25, 50, 75, 100)])


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("json", nargs="+")
  parser.add_argument("--into", required=True, metavar="FOLDER")
  args = parser.parse_args()
  runs = []
  for path in args.json:
    with open(path, encoding="utf-8") as f:
      runs.append(json.load(f))
  records = [r for run in runs for r in run["results"]]
  first = runs[0]
  subtitle = (f"{first['processor']}, {first['threads']} threads, {first['rounds']} interleaved rounds, medians"
              + (f", {first['date']}" if "date" in first else ""))
  os.makedirs(args.into, exist_ok=True)
  for name, draw in (("ratios.svg", draw_ratios), ("roof.svg", draw_shares)):
    svg = draw(records, subtitle)
    if svg:
      with open(os.path.join(args.into, name), "w", encoding="utf-8") as f:
        f.write(svg)
      print(os.path.join(args.into, name))


if __name__ == "__main__":
  main()
