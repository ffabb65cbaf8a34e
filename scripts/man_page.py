"""A man page from what `--help` says, so that neither lacks what the other has. Prints that of edgefleet-agent."""

import argparse
from collections.abc import Iterator

from edgefleet_agent import __version__
from edgefleet_agent.commands import EXIT_CODES, _parser

FILES = {
    "/etc/edgefleet/agent.toml": "What the owner of the device says about it.",
    "/var/lib/edgefleet": "State: the identity in identity/, models, what was signed, what waits to be sent.",
    "/run/edgefleet/MODEL.sock": "Where applications ask MODEL; MODEL.port holds a loopback port, port the one for all models.",
    "/etc/edgefleet/purge-identity": "If it is there, purging the package removes the identity too.",
}
UNITS = {
    "edgefleet-agent.service": "The agent.",
    "edgefleet-worker.socket": "Where it asks for workers; each is an edgefleet-worker@.service.",
    "edgefleet-model@MODEL.socket": "To be enabled where an application may start before the agent: it waits instead of finding nothing.",
    "edgefleet-agent.socket": "The same for the loopback port of all models, 127.0.0.1:7340.",
}


def agent_page() -> str:
    """Return the page edgefleet-agent(1) in roff."""
    parser = _parser()
    return "\n".join(
        [
            f'.TH EDGEFLEET-AGENT 1 "" "EdgeFleet {__version__}" "EdgeFleet"',
            ".SH NAME",
            "edgefleet-agent \\- serves the models of a device and follows what its fleet signed",
            ".SH SYNOPSIS",
            ".B edgefleet agent",
            ".I VERB",
            "[options]",
            ".SH DESCRIPTION",
            _text(parser.description or ""),
            "Each verb says the same of itself with \\fB\\-\\-help\\fR.",
            ".SH VERBS",
            *_verbs(parser),
            ".SH EXIT STATUS",
            *_exit_codes(),
            ".SH FILES",
            *_terms(FILES),
            ".SH UNITS",
            *_terms(UNITS),
            ".SH SEE ALSO",
            ".BR systemctl (1),",
            ".BR journalctl (1),",
            ".BR systemd.socket (5)",
            "",
        ]
    )


def _verbs(parser: argparse.ArgumentParser) -> Iterator[str]:
    verbs = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    for name, one in verbs.choices.items():
        yield f".SS {name}"
        yield _text(one.description or "")
        for action in one._actions:
            if action.dest != "help":
                value = action.metavar or (action.dest if action.nargs != 0 else "")
                words = ", ".join(action.option_strings) or str(value)
                yield ".TP"
                yield f".B {_text(words)}" + (f" {_text(str(value))}" if action.option_strings and value else "")
                yield _text(
                    (action.help or "") % {"default": action.default, "prog": one.prog, "choices": action.choices}
                )


def _exit_codes() -> Iterator[str]:
    for line in EXIT_CODES.splitlines()[1:]:
        code, _, words = line.strip().partition(" ")
        yield from (".TP", f".B {code}", _text(words.strip()))


def _terms(rows: dict[str, str]) -> Iterator[str]:
    for term, words in rows.items():
        yield from (".TP", f".I {_text(term)}", _text(words))


def _text(words: str) -> str:
    """Return words in roff: a hyphen that is typed, no line that begins with a request."""
    escaped = " ".join(words.split()).replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + escaped if escaped[:1] in (".", "'") else escaped


if __name__ == "__main__":
    print(agent_page(), end="")
