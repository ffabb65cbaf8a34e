"""What can be seen before anything is trained: hours should not end in a mistake that was there from the start."""

import tempfile
from pathlib import Path

from torch import nn

from .errors import CannotQuantize, PackageError, RecipeError, WorkFolderError
from .package.variants import check_place
from .recipe import Recipe, Recipes
from .steps.export import Export
from .steps.prune import Prune, check_keep
from .steps.quantize_static import QuantizeStatic
from .steps.tidy import tidy
from .workload import Loaded, Workload


def check_places(out: Path, work: Path) -> None:
    """Raise PackageError or WorkFolderError unless package and finished steps can be written. Makes the folders."""
    check_place(out)
    for folder, kind, error in (
        (work, "the work folder", WorkFolderError),
        (out.parent, "the folder of the package", PackageError),
    ):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            Path(tempfile.mkdtemp(prefix="unfinished-", dir=folder)).rmdir()
        except OSError as problem:
            option = "--work" if kind == "the work folder" else "--out"
            raise error(
                f"{kind} {folder} cannot be written: {_words(problem)}. Name another with {option}"
            ) from problem


def check_recipes(loaded: Loaded, recipes: Recipes) -> None:
    """Raise RecipeError for a layer, node or count of samples that there is not, and ExportMismatch for a model that
    has no ONNX form: everything that an untrained copy of the model shows.
    """
    with loaded.neighbours.at_work():
        model = loaded.workload.make_model().eval()
        exported: dict[Export, bytes] = {}
        for recipe in recipes.variants:
            _check(recipe, model, loaded.workload, exported)


def _check(recipe: Recipe, model: nn.Module, workload: Workload, exported: dict[Export, bytes]) -> None:
    data, quantized = b"", False
    try:
        for step in recipe.steps:
            if isinstance(step, Prune):
                check_keep(model, step.keep)
            elif isinstance(step, Export):
                if step not in exported:
                    exported[step] = step.export(model, workload)
                data = exported[step]
            elif step.name == "tidy":
                data = tidy(data)
            elif isinstance(step, QuantizeStatic):
                if quantized:
                    raise CannotQuantize("the model is quantized already; begin with the floating-point one")
                step.check(data, workload)
                quantized = True
    except (RecipeError, CannotQuantize) as error:
        raise RecipeError(f"variant {recipe.name!r}: {error}") from error


def _words(problem: OSError) -> str:
    where = f" ({problem.filename})" if problem.filename else ""
    return f"{problem.strerror}{where}"
