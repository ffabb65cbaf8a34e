"""The errors of the trust part.

TrustError
├── NotThere      a file, folder, key or release that does not exist      exit 3
├── KeyProblem    a key that cannot be opened or must not be used         exit 1
│   └── WrongPassphrase
├── BadPackage    a package folder that does not hold what it says        exit 5
├── BadProposal   a proposal that nobody should sign or publish           exit 5
└── BreaksRule    something that the repository's rules forbid            exit 5
    └── WrongClock
"""


class TrustError(Exception):
    """Something about keys, proposals or the repository. `exit_code` is what a command returns for it."""

    exit_code = 1


class NotThere(TrustError):
    """A file, folder, key or release that does not exist."""

    exit_code = 3


class KeyProblem(TrustError):
    """A key that cannot be opened, or must not be used as it lies there."""


class WrongPassphrase(KeyProblem):
    """The passphrase does not open the key, or the key file was changed."""


class BadPackage(TrustError):
    """A package folder that does not hold what its release.json says, or what no device should get."""

    exit_code = 5


class BadProposal(TrustError):
    """A proposal that nobody should sign or publish."""

    exit_code = 5


class BreaksRule(TrustError):
    """Something that the repository's rules forbid."""

    exit_code = 5


class WrongClock(BreaksRule):
    """This machine's clock is behind the times that are signed already: one of the two is wrong."""
