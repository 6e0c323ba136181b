"""A comparison as one file of HTML that needs nothing else: tables, pictures, protocol."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

from optlab.lab import _compare_plots, _compare_table
from optlab.lab._compare_findings import Findings

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; margin: 0 auto;
  padding: 1rem; max-width: 72rem; overflow-wrap: break-word; }
h1 { font-size: 1.5rem; line-height: 1.2; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
h3 { font-size: 1rem; margin-bottom: .3rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .875rem; }
th, td { text-align: left; padding: .35rem .7rem .35rem 0; border-bottom: 1px solid #ddd;
  vertical-align: top; white-space: nowrap; }
th:first-child, td:first-child { position: sticky; left: 0; background: #fff; font-weight: 600; }
td:first-child { white-space: normal; max-width: 9rem; }
td.names { white-space: normal; min-width: 13rem; }
.pictures { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%,
  26rem), 1fr)); margin-top: 1rem; }
.pictures img { width: 100%; height: auto; } .pictures figure { margin: 0; }
.matrix td { text-align: center; white-space: nowrap; }
.shown { color: #00543c; font-weight: 600; } .none { color: #666; }
ul { padding-left: 1.2rem; } .note { background: #fff6dc; padding: .5rem .8rem; }
details { margin-top: .8rem; } summary { cursor: pointer; }
pre { white-space: pre-wrap; font-size: .8rem; }
""".strip()


def report(comparison: Findings) -> str:
    """The whole page."""
    names = ", ".join(comparison.optimizers)
    parts = [
        _tag("h1", "Comparison of optimizers"),
        _tag("p", f"{names}; on {', '.join(comparison.tasks)}"),
    ]
    if len(comparison.tasks) > 1:
        parts += [_tag("h2", "Over all tasks"), *_verdicts(comparison, None)]
        parts.append(_pictures(comparison, None))
    for task in comparison.tasks:
        parts += [_tag("h2", task), _tag("p", _compare_table.headline(comparison, task))]
        parts += [_table(comparison, task), *_verdicts(comparison, task)]
        parts.append(_pictures(comparison, task))
        parts.append(_winners(comparison, task))
    parts += [_tag("h2", "How it was done"), _tag("p", _compare_table.protocol(comparison))]
    parts += [f'<p class="note">{_text(note)}</p>' for note in _compare_table.notes(comparison)]
    parts.append(_rows(("optimizer", "searched"), _compare_table.spaces(comparison)))
    plans = {entry.plan for entry in comparison.entries.values()}
    took = f"All of it took {comparison.seconds:.0f} s."
    parts.append(_tag("p", f"Runs: {'; '.join(sorted(plans))}. {took}"))
    body = "\n".join(part for part in parts if part)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text('Comparison: ' + names)}</title>\n<style>\n{_STYLE}\n</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _table(comparison: Findings, task: str) -> str:
    return _rows(_compare_table.HEADS, _compare_table.cells(comparison, task), last="names")


def _verdicts(comparison: Findings, task: str | None) -> Iterable[str]:
    sentences = "".join(
        f"<li>{_text(s.strip())}</li>" for s in _compare_table.shown(comparison, task)
    )
    yield f"<ul>{sentences}</ul>"
    yield (
        "<details><summary>All pairs: which is better, the adjusted p-value, the share of "
        "resampled studies</summary>"
        f"{_matrix(comparison, task)}</details>"
    )


def _matrix(comparison: Findings, task: str | None) -> str:
    names = comparison.optimizers
    lines = []
    for a in names:
        cells = []
        for b in names:
            verdict = comparison.verdict(a, b, task=task)
            p = "p < 0.001" if verdict.adjusted < 1e-3 else f"p = {verdict.adjusted:.2g}"
            p += f", {verdict.share:.0%}"
            if a == b:
                cells.append("<td></td>")
            elif verdict.better is None:
                cells.append(f'<td class="none">none shown<br>{_text(p)}</td>')
            else:
                word = "better" if verdict.better == a else "worse"
                cells.append(f'<td class="shown">{word}<br>{_text(p)}</td>')
        lines.append(f"<tr><td>{_text(a)}</td>{''.join(cells)}</tr>")
    heads = "".join(f"<th>than {_text(name)}</th>" for name in names)
    table = f'<table class="matrix"><tr><th></th>{heads}</tr>{"".join(lines)}</table>'
    return f'<div class="wide">{table}</div>'


def _winners(comparison: Findings, task: str) -> str:
    lines = [
        (row["optimizer"], str(study + 1), _rounded(choice))
        for row in comparison.rows
        if row["task"] == task
        for study, choice in enumerate(row["hyperparameters"])
    ]
    table = _rows(("optimizer", "study", "hyperparameters of the winner"), lines, last="names")
    return f"<details><summary>Hyperparameters that won</summary>{table}</details>"


def _rounded(choice: dict[str, Any] | None) -> str:
    if choice is None:
        return "none: all trials failed"
    short = {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in choice.items()}
    return json.dumps(short)


def _rows(heads: Sequence[str], lines: Iterable[Sequence[str]], last: str = "") -> str:
    kinds = [""] * (len(heads) - 1) + [f' class="{last}"' if last else ""]
    head = "".join(_tag("th", text) for text in heads)
    body = "".join(
        "<tr>"
        + "".join(f"<td{kind}>{_text(t)}</td>" for kind, t in zip(kinds, line, strict=True))
        + "</tr>"
        for line in lines
    )
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _pictures(comparison: Findings, task: str | None) -> str:
    figures = []
    for title, figure in _compare_plots.pictures(comparison, task):
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
        data = base64.b64encode(file.getvalue()).decode()
        words = f"{title}, {task}" if task else title
        figures.append(
            f'<figure><img alt="{_text(words)}" src="data:image/svg+xml;base64,{data}"></figure>'
        )
    return f'<div class="pictures">{"".join(figures)}</div>' if figures else ""


def _tag(name: str, text: str) -> str:
    return f"<{name}>{_text(text)}</{name}>"


def _text(text: str) -> str:
    return html.escape(text, quote=True)
