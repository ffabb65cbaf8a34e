"""Ask every model of this device by NVIDIA's client: python triton.py [--run /run/edgefleet].

`pip install 'tritonclient[http]'`; one address serves all models.
"""

import argparse
from pathlib import Path

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import triton_to_np_dtype


def main() -> None:
    """Send zeros to each model and print what comes back."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("/run/edgefleet"))
    arguments = parser.parse_args()
    client = triton.InferenceServerClient(f"127.0.0.1:{(arguments.run / 'port').read_text().strip()}")
    for row in client.get_model_repository_index():
        inputs = []
        for tensor in client.get_model_metadata(row["name"])["inputs"]:
            shape = [1 if size < 0 else size for size in tensor["shape"]]
            value = triton.InferInput(tensor["name"], shape, tensor["datatype"])
            value.set_data_from_numpy(np.zeros(shape, triton_to_np_dtype(tensor["datatype"])))
            inputs.append(value)
        answer = client.infer(row["name"], inputs)
        said = answer.get_response()
        shapes = {output["name"]: output["shape"] for output in said["outputs"]}
        print(f"{said['parameters']['release']} {said['parameters']['variant']}: {shapes}")


if __name__ == "__main__":
    main()
