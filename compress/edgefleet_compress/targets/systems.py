"""What an operating system lets a device run: its Python decides which onnxruntime there is, and whether the agent starts.

Newest onnxruntime with a wheel for Linux on the Python Package Index, by Python; looked up for aarch64, and the same on x86-64
where both are named. A newer Python that is installed beside the system's own changes the answer.
"""

from dataclasses import dataclass

AGENT_PYTHON = (3, 10)
"""The oldest that the agent runs on."""
WHEEL_GLIBC = (2, 28)
"""The oldest C library that the wheels of onnxruntime 1.19 and later run with."""
NEWEST = (
    ((3, 11), "1.32.0"), ((3, 10), "1.23.2"), ((3, 8), "1.19.2"), ((3, 7), "1.14.1"), ((3, 6), "1.10.0"),
)  # fmt: skip
"""From this Python on, this onnxruntime."""
OPENS = {
    "1.32.0": "IR 14, opset 28", "1.23.2": "IR 11, opset 23", "1.19.2": "IR 10, opset 21", "1.14.1": "IR 8, opset 18",
    "1.10.0": "IR 8, opset 15",
}  # fmt: skip
"""The newest file that each opens."""


@dataclass(frozen=True)
class System:
    """An operating system, with the Python and the C library that it comes with."""

    name: str
    python: str
    glibc: str

    @property
    def runtime(self) -> str:
        """The newest onnxruntime for its Python, or nothing."""
        return next((version for python, version in NEWEST if _numbers(self.python) >= python), "")

    @property
    def obstacle(self) -> str:
        """Why the agent does not run on it as it comes; empty where it does."""
        if _numbers(self.glibc) < WHEEL_GLIBC:
            return f"its C library is {self.glibc} and onnxruntime's wheels need {'.'.join(map(str, WHEEL_GLIBC))}"
        if _numbers(self.python) < AGENT_PYTHON:
            return f"its Python is {self.python} and the agent needs {'.'.join(map(str, AGENT_PYTHON))}: install one beside it"
        return ""


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))
