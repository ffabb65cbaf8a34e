"""EdgeFleet client: what an application on the device imports.

from edgefleet_client import Model

fashion = Model("fashion")
prediction = fashion.predict(image)
print(prediction.label, prediction.release)
"""

from .errors import BadInput, ClientError, ModelFailed, ModelNotServed, NoAnswer, NotAllowed, ServerBusy, TooLate
from .latest import Latest
from .model import Change, Model
from .prediction import Prediction

__version__ = "0.1.0"

__all__ = [
    "BadInput",
    "Change",
    "ClientError",
    "Latest",
    "Model",
    "ModelFailed",
    "ModelNotServed",
    "NoAnswer",
    "NotAllowed",
    "Prediction",
    "ServerBusy",
    "TooLate",
]
