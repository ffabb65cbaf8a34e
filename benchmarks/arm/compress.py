"""Finalists on emulated Arm: `make arm-lab-compress ARGS="DIR ..."`, where each DIR is a package of `edgefleet compress`.

For each variant and each of Cortex-A53, A72 and A76: whether its rows are those that the scorer had on this machine under
Arm's graph rules, bit for bit, and how many instructions an inference takes. Without DIR, the example's package is made
and taken. Instructions need an emulator that counts, which --build-counter builds once, in a quarter of an hour.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgefleet_compress.errors import CompressError

from . import counter, packages
from .emulated import PROCESSORS, Processor
from .finalists import Agreement, Package, agreements, float_of, instructions, is_quantized, opened
from .places import LAB, ROOT, LabError, run, say

PAGE = ROOT / "docs" / "reference" / "arm.md"
MARK = "<!-- made by `make arm-lab-compress ARGS=--write` -->"
END = "<!-- end -->"
DEFAULT = ("cortex-a53", "cortex-a72", "cortex-a76")
LITTLE, MUCH = 1.5, 2.0
"""How many times as many instructions float takes: below the first int8 is said to buy little, from the second on to pay.
1.2 to 1.6 were seen without dot product and 2.4 to 3.2 with it, on convolutional networks."""
DONE, FAILED, USAGE = 0, 1, 2


@dataclass(frozen=True)
class Line:
    """One variant on one processor."""

    package: str
    variant: str
    processor: str
    quantized: bool
    float_variant: str
    """Of the same network."""
    agreement: Agreement
    counts: Mapping[str, float] | None
    lacks: tuple[str, ...] = ()
    """Instruction sets that the variant asks for and the processor does not have: the agent would not choose it there."""
    runtime: str = ""

    @property
    def total(self) -> float | None:
        """All instructions of one inference."""
        return None if self.counts is None else sum(self.counts.values())


def main(argv: list[str]) -> int:
    """Run the lab; return 0 when every variant answers as the release allows, else 1."""
    options = _parser().parse_args(argv)
    LAB.mkdir(parents=True, exist_ok=True)
    try:
        counting = _counter(options)
        folders = options.package or [example()]
        processors = [one for one in PROCESSORS if one.name in (options.cpu or DEFAULT)]
        lines = [
            line
            for folder in folders
            for processor in processors
            for line in measured(opened(folder, options.rows), processor, counting)
        ]
    except (LabError, CompressError, OSError) as error:
        print(f"arm-lab-compress: {error}", file=sys.stderr)
        return FAILED
    text = report(lines)
    if options.write:
        write(text)
    print(json.dumps(document(lines)) if options.json else text)
    return DONE if all(line.agreement.held for line in lines) else FAILED


def measured(package: Package, processor: Processor, counting: counter.Counter | None) -> list[Line]:
    """Return the lines of one package on one processor."""
    modules = packages.runtime()
    seen = agreements(package, processor, modules)
    counted: dict[str, dict[str, float]] | None = None
    # The counter is of one version of QEMU, which may lack a newer processor.
    if counting is not None and processor.suite == "trixie":
        counted = instructions(package, processor, modules, counting)
    quantized = {variant.name: is_quantized(package.model(variant)) for variant in package.runnable}
    floats = [variant for variant in package.runnable if not quantized[variant.name]]
    return [
        Line(
            package.release.model,
            variant.name,
            processor.title,
            quantized[variant.name],
            float_of(variant, floats).name if floats else "",
            seen.agreements[variant.name],
            counted[variant.name] if counted is not None else None,
            tuple(feature for feature in variant.requires.features if feature not in seen.features),
            seen.runtime,
        )
        for variant in package.runnable
    ]


def report(lines: list[Line]) -> str:
    """Return the tables and what they say, in Markdown."""
    rows = [
        "| package | processor | variant | rows as scored | largest difference | allowed | million instructions | float / this | dot product | widening multiply |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for line in lines:
        seen = line.agreement
        counts = ["not counted"] + [""] * 3
        if line.counts is not None and line.total is not None:
            ratio = _gain(line, lines)
            counts = [
                f"{line.total / 1e6:.2f}",
                f"{ratio:.2f}" if line.quantized and ratio else "",
                f"{line.counts['dot'] / 1e6:.2f}",
                f"{line.counts['widening_multiply'] / 1e6:.2f}",
            ]
        cells = [
            line.package,
            line.processor,
            line.variant + (f" (not chosen: no {', '.join(line.lacks)})" if line.lacks else ""),
            f"{seen.identical} of {seen.rows}",
            f"{seen.max_difference:.2g}",
            f"{seen.allowed:.2g}",
            *counts,
        ]
        rows.append("| " + " | ".join(cells) + " |")
    versions = ", ".join(sorted({f"onnxruntime {line.runtime}" for line in lines if line.runtime}))
    return (
        "\n".join(
            [
                *rows,
                "",
                *(f"- {words}" for words in findings(lines)),
                *([f"- Run with {versions}."] if versions else []),
            ]
        )
        + "\n"
    )


def findings(lines: list[Line]) -> list[str]:
    """Return what the table says, in sentences: which rows differ, and where int8 buys little."""
    quantized = [line for line in lines if line.quantized]
    apart = [line for line in quantized if line.agreement.identical < line.agreement.rows]
    said = []
    if quantized and not apart:
        said.append("Every row of every quantized variant is, bit for bit, the one that the scorer had on x86.")
    for line in apart:
        seen = line.agreement
        verdict = "within what the release allows" if seen.held else "MORE than the release allows"
        said.append(
            f"{line.package}/{line.variant} on {line.processor}: {seen.rows - seen.identical} of {seen.rows} rows are not "
            f"those that the scorer had; they differ by {seen.max_difference:.2g} at most, {verdict} ({seen.allowed:.2g})."
        )
    for line in lines:
        if not line.quantized and not line.agreement.held:
            said.append(
                f"{line.package}/{line.variant} on {line.processor} differs by {line.agreement.max_difference:.2g}, "
                f"MORE than the release allows ({line.agreement.allowed:.2g})."
            )
    for name in dict.fromkeys(line.processor for line in quantized):
        gains = [(line, gain) for line in quantized if line.processor == name and (gain := _gain(line, lines))]
        if not gains:
            continue
        words = ", ".join(f"{gain:.2f} times as many as {line.package}/{line.variant}" for line, gain in gains)
        with_dot = any(line.counts and line.counts["dot"] for line, _ in gains)
        why = "its kernels use the dot product" if with_dot else "onnxruntime's kernels here have no dot product to use"
        verdict = "int8 buys some speed"
        if max(gain for _, gain in gains) < LITTLE:
            verdict = "**int8 buys little speed here**, only bytes"
        elif min(gain for _, gain in gains) >= MUCH:
            verdict = "int8 pays here"
        said.append(f"{name}: {verdict}. By instructions, the float of the same network takes {words}; {why}.")
    return said


def document(lines: list[Line]) -> dict[str, Any]:
    """Return everything for a program."""
    return {
        "lines": [
            dataclasses.asdict(line) | {"held": line.agreement.held, "instructions": line.total} for line in lines
        ],
        "findings": findings(lines),
        "figures": {
            "int8_rows_identical_percent": _percent([line for line in lines if line.quantized]),
            "variants_held_percent": 100.0 * sum(line.agreement.held for line in lines) / max(len(lines), 1),
        },
    }


def write(text: str) -> None:
    """Put the table into the page between its marks."""
    before, _, rest = PAGE.read_text().partition(MARK)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{MARK}\n\n{text}\n{END}{after}")
    say(f"wrote {PAGE.relative_to(ROOT)}")


def example() -> Path:
    """Return the package of the example, made once: a quarter of an hour of one core."""
    folder = LAB / "example"
    if not (folder / "package" / "release.json").is_file():
        say("making the example's package (a quarter of an hour of one core; name a package of yours to spare it)")
        command = [str(Path(sys.executable).with_name("edgefleet")), "compress"]
        if not (folder / "workload.py").is_file():
            run([*command, "example", str(folder)], log=LAB / "example.log")
        words = [
            str(folder / "workload.py"),
            "--recipes",
            str(folder / "recipes.toml"),
            "--out",
            str(folder / "package"),
        ]
        run([*command, "run", *words], log=LAB / "example.log")
    return folder / "package"


def _counter(options: argparse.Namespace) -> counter.Counter | None:
    if options.build_counter:
        return counter.build()
    found = counter.found()
    if found is None:
        say(
            "instructions are not counted: --build-counter builds the emulator that counts, once, in a quarter of an hour"
        )
    return found


def _gain(line: Line, lines: list[Line]) -> float | None:
    other = next(
        (
            one
            for one in lines
            if (one.package, one.processor, one.variant) == (line.package, line.processor, line.float_variant)
        ),
        None,
    )
    if other is None or not line.total or not other.total:
        return None
    return other.total / line.total


def _percent(lines: list[Line]) -> float:
    rows = sum(line.agreement.rows for line in lines)
    return 100.0 * sum(line.agreement.identical for line in lines) / rows if rows else 0.0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='make arm-lab-compress ARGS="…"',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="exit codes: 0 every variant answers as its release allows, 1 one does not or a step failed, 2 usage",
    )
    parser.add_argument("package", type=Path, nargs="*", help="a folder that edgefleet compress made (the example's)")
    parser.add_argument("--rows", type=int, default=272, help="at most so many of each variant (272: a package's all)")
    names = [one.name for one in PROCESSORS]
    parser.add_argument(
        "--cpu",
        choices=names,
        action="append",
        help=f"may be given again ({', '.join(DEFAULT)}; the A78AE is not counted)",
    )
    parser.add_argument(
        "--build-counter", action="store_true", help="build the emulator that counts, if it is not there"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    parser.add_argument("--write", action="store_true", help="put the table into docs/reference/arm.md")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
