"""The page at `/`. All that it shows it asks of the API, once a second."""

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from .. import __version__

HERE = Path(__file__).parent


def mount(app: FastAPI) -> None:
    """Add the page and its files to `app`."""
    environment = Environment(loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined)
    template = environment.get_template("index.html")
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")

    @app.get("/", include_in_schema=False)
    def page() -> HTMLResponse:
        return HTMLResponse(template.render(version=__version__))
