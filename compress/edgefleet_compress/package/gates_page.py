"""The gates in the package: `gates.json`, and a section of the report."""

from collections.abc import Mapping
from dataclasses import asdict
from html import escape
from typing import Any

from ..gates.coverage import Table
from ..gates.insurance import Verdict


def gates_document(tables: Mapping[str, Table], verdicts: Mapping[str, Verdict]) -> dict[str, Any]:
    """Return what `gates.json` holds: for each variant its coverage, row by row, and its verdict."""
    return {
        name: {
            "coverage": asdict(table) | {"int8": table.int8, "all": table.all, "flags": table.flags},
            "insurance": asdict(verdicts[name]) if name in verdicts else None,
        }
        for name, table in tables.items()
    }


def gates_section(tables: Mapping[str, Table], verdicts: Mapping[str, Verdict], original: str) -> str:
    """Return the HTML: a row for each variant, and its table node by node to unfold, beside that of the original."""
    before = {row.name: row.kernel or "–" for row in tables[original].rows}
    head = "<thead><tr><th>variant</th><th>against the original, sample by sample</th><th>int8 kernels</th><th>quantizers left</th></tr></thead>"
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(verdicts[name].words) if name in verdicts else ''}</td>"
        f"<td>{table.int8}/{table.all}</td><td>{table.quantizers_left}</td></tr>"
        for name, table in tables.items()
    )
    nodes = "".join(
        f"<details><summary>{escape(name)}: {escape(table.words)}{_flags(table)}</summary>"
        f'<div class="wide"><table>{_nodes(table, before)}</table></div></details>'
        for name, table in tables.items()
    )
    return (
        '<section><h2>Gates</h2><p class="note">Losses are compared on the same samples, with a one-sided bound. Kernels are '
        f'those of the graph that onnxruntime builds under Arm\'s rules.</p><div class="wide"><table>{head}<tbody>{rows}</tbody></table></div>'
        f"<h3>Node by node</h3>{nodes}</section>"
    )


def _flags(table: Table) -> str:
    return "".join(f"<br><b>{escape(flag)}</b>" for flag in table.flags)


def _nodes(table: Table, before: Mapping[str, str]) -> str:
    body = "".join(
        f"<tr><th>{escape(row.name)}</th><td>{escape(row.operator)}</td><td>{escape(before.get(row.name, '–'))}</td>"
        f"<td>{escape(row.kernel or '–')}</td><td>{row.format}</td><td>{escape(row.why)}</td></tr>"
        for row in table.rows
    )
    head = "".join(f"<th>{cell}</th>" for cell in ("node", "operator", "original", "runs as", "format", "why not int8"))
    return f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
