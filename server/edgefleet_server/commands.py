"""Where the command `edgefleet` comes in. Each function loads its own part only."""


def server(argv: list[str]) -> int:
    """Run `edgefleet server …`."""
    from .cli.serve import main

    return main(argv)


def rollout(argv: list[str]) -> int:
    """Run `edgefleet rollout …`."""
    from .cli.rollout import main

    return main(argv)


def device(argv: list[str]) -> int:
    """Run `edgefleet device …`."""
    from .cli.device import main

    return main(argv)


def alert(argv: list[str]) -> int:
    """Run `edgefleet alert …`."""
    from .cli.alert import main

    return main(argv)


def region(argv: list[str]) -> int:
    """Run `edgefleet region …`."""
    from .cli.region import main

    return main(argv)


def group(argv: list[str]) -> int:
    """Run `edgefleet group …`."""
    from .cli.group import main

    return main(argv)
