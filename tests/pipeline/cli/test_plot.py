"""`pipeline plot`: figures that fit, read tables or need more than logits, against their parts."""

import csv

import pytest


def read(path):
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def test_gamma_draws_what_sweep_writes(run, digits_cache, digits_rectifier, tmp_path):
    table, drawn = tmp_path / "table.csv", tmp_path / "gamma.png"
    assert run("sweep", digits_cache, "--gamma", "0:1.6:0.2", "-o", table).code == 0
    swept = read(table)[2:]
    found = {}
    for name, chosen in (
        ("now", []),
        ("table", ["--sweep", table]),
        ("fit", [digits_rectifier]),
    ):
        assert run("plot", "gamma", digits_cache, *chosen, "-o", drawn).code == 0
        found[name] = (drawn.read_bytes(), drawn.with_suffix(".csv").read_text())
    assert found["now"] == found["table"] == found["fit"]
    shown = read(drawn.with_suffix(".csv"))
    for point, row in zip(shown[:-2], swept, strict=True):
        assert point["series"] == "marr (default)"
        for key in ("gamma", "overall", "overall_low", "overall_high", "many", "nll"):
            assert point[key] == row[key]
    assert [row["gamma"] for row in shown if row["chosen"] == "1"] == ["1.2"]


def test_gamma_refuses_what_it_cannot_draw(run, digits_cache, digits_rectifier, tmp_path):
    output, table = tmp_path / "gamma.png", tmp_path / "table.csv"
    drawn = ("plot", "gamma", digits_cache, "-o", output)
    table.write_text("name,overall\nmarr,0.5\n")
    done = run(*drawn, "--sweep", table)
    assert done.code == 3
    assert "a table of `pipeline sweep -o` expected, got one without method, preset" in done.error
    assert run("sweep", digits_cache, "--l2", "1", "-o", table).code == 0
    done = run(*drawn, "--sweep", table)
    assert (done.code, "at least two values of gamma" in done.error) == (3, True)
    options = ("--gamma", "1,1.2", "--eval-split", "train")
    assert run("sweep", digits_cache, *options, "-o", table).code == 0
    done = run(*drawn, "--sweep", table)
    assert (done.code, "split test, expected, whose softmax has" in done.error) == (3, True)
    done = run("plot", "curves", *drawn[2:], "--sweep", table)
    assert (done.code, "--sweep: the figure gamma expected, got curves" in done.error) == (2, True)
    flat = tmp_path / "tau.safetensors"
    assert run("rectify", digits_cache, "--method", "tau-norm", "-o", flat).code == 0
    done = run(*drawn, flat)
    assert (done.code, "fitted with class weights expected, got tau-norm" in done.error) == (
        2,
        True,
    )
    assert not output.exists()


def test_priors_at_uniform_are_the_metrics_of_evaluate(
    run, digits_cache, digits_rectifier, tmp_path
):
    """The test split of digits-lt has every class alike."""
    output = tmp_path / "priors.svg"
    drawn = ("plot", "priors", digits_cache, digits_rectifier, "-o", output)
    assert run(*drawn).code == 0
    (uniform,) = [row for row in read(output.with_suffix(".csv")) if float(row["exponent"]) == 0]
    methods = run("evaluate", digits_cache, digits_rectifier, "--json").document["methods"]
    shown = {"softmax": "softmax", "logit-adjustment": "logit-adjustment", "marr": "marr (default)"}
    for key, name in shown.items():
        assert float(uniform[f"{name}.accuracy"]) == pytest.approx(methods[key]["overall"])
        assert float(uniform[f"{name}.nll"]) == pytest.approx(methods[key]["nll"])
    before = output.read_bytes()
    assert run(*drawn).code == 0
    assert output.read_bytes() == before
