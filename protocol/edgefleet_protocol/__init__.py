"""What all sides of EdgeFleet agree on, as pure data and functions.

No module here opens a socket, a file or a database, reads a clock, or checks a signature. A document is a frozen
`msgspec.Struct`; its JSON bytes are what is signed, so whoever stores, relays or verifies one keeps the bytes.
"""

__version__ = "0.1.0"
