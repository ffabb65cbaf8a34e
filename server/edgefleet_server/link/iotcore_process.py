"""`python -m edgefleet_server.link.iotcore_process --port P`: iotcore as a process that can be killed and restarted."""

import argparse
import signal
import sys

MAX_PAYLOAD_BYTES = 400_000
"""Its default of 20,480 makes a larger publish hang without a word."""
MAX_DEVICES = 50


def main(argv: list[str]) -> int:
    """Run the broker on 127.0.0.1 until the process is told to end."""
    parser = argparse.ArgumentParser(description="the demo's fallback broker, on loopback")
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args(argv)
    from iotcore import IotCoreBroker

    broker = IotCoreBroker(
        listen="127.0.0.1",
        port=arguments.port,
        max_payload_size=MAX_PAYLOAD_BYTES,
        # Beside the devices: the hub, a person who looks, and connections that are half gone.
        max_connections=MAX_DEVICES * 2,
    )
    # The main thread never comes back from native code, so a handler in Python would never run; the default one does.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    broker.run_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
