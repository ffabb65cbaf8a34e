"""A sample of the gates' operating curve: the command that draws it works, and what it promises holds on few runs."""

from benchmarks.operating_curve import MODELS, PAGE, RULES, SIZES, cell, picture, table, write


def test_a_good_model_is_hardly_ever_stopped_and_a_bad_one_soon() -> None:
    good, slow = MODELS[1], MODELS[4]
    assert good.good and cell(good, 30, 20, seed=5).stopped <= RULES.alpha
    found = cell(slow, 30, 10, seed=5)
    assert found.stopped == 1.0 and (found.at(0.9) or 99) <= 15


def test_table_and_picture_are_put_where_the_page_has_them(tmp_path) -> None:
    cells = {(model.name, size): cell(model, 10, 1, seed=1) for model in MODELS for size in SIZES}
    page, svg = tmp_path / "gates.md", tmp_path / "curve.svg"
    page.write_text(PAGE.read_text())
    write(cells, 1, page, svg)
    text = page.read_text()
    assert table(cells, 1) in text and text.count("end of the table") == 1
    assert svg.read_text() == picture(cells, 1)
    assert all(f"| {model.name}" in text for model in MODELS)
