import pytest

from cache import open_cache

SMALL = ("--samples", 300, "--classes", 7, "--repeat", 1)


def fit_of(document, name):
    (found,) = [fit for fit in document["fits"] if fit["fit"] == name]
    return found


def test_document_says_what_was_measured_on_what(run):
    options = ("--l2", 0.3, "--gap", 1e-7, "--only", "passes", "--only", "ours")
    done = run("bench", "fit", *SMALL, *options, "--json")
    assert done.code == 0
    assert done.out.count("\n") == 1
    document = done.document
    assert list(document)[:3] == ["schema_version", "command", "what"]
    assert (document["command"], document["what"]) == ("bench", "fit")
    assert set(document) == {
        *("schema_version", "command", "what", "problem", "machine", "passes", "objectives"),
        *("fits", "memory", "online"),
    }
    problem = document["problem"]
    assert (problem["source"], problem["samples"], problem["classes"]) == ("synthetic", 300, 7)
    assert (problem["l2"], problem["wanted_gap"], problem["dtype"]) == (0.3, 1e-7, "float32")
    assert problem["bytes"] == 300 * 7 * 4
    assert [fit["fit"] for fit in document["fits"]] == ["lbfgs", "newton"]
    assert fit_of(document, "lbfgs")["gap_bound"] <= 1e-7
    assert set(document["machine"]) >= {"cpu_count", "threads", "torch", "device"}


def test_only_fits_leaves_out_the_passes(run):
    assert run("bench", "fit", *SMALL, "--only", "lbfgs", "--json").document["passes"] is None


def test_table_has_a_line_for_each_pass_and_fit(run):
    done = run("bench", "fit", *SMALL, "--only", "passes", "--only", "ours", "--only", "sgd")
    passes, _, fits = done.out.partition("\n\n")
    names = [line.split()[0] for line in passes.splitlines()]
    assert names == ["pass", "read", "exp", "fast", "precise", "hessian_product", "autograd"]
    assert [line.split()[1] for line in fits.splitlines()] == ["fit", "lbfgs", "newton", "sgd"]
    assert "threads of" in done.err


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_streamed_rows_give_the_fit_of_rows_in_memory(run, tmp_path, dtype):
    options = (*SMALL, "--dtype", dtype, "--only", "lbfgs", "--json")
    in_memory = run("bench", "fit", *options).document
    path = tmp_path / "rows.h5"
    streamed = run("bench", "fit", *options, "--stream", path).document
    assert streamed["problem"]["source"] == "cache"
    assert streamed["problem"]["bytes"] == in_memory["problem"]["bytes"]
    expected = pytest.approx(fit_of(in_memory, "lbfgs")["loss"], rel=1e-12)
    assert fit_of(streamed, "lbfgs")["loss"] == expected
    assert open_cache(path).split("train").logits.dtype == dtype


def test_rows_on_disk_are_written_once(run, tmp_path):
    path = tmp_path / "rows.h5"
    options = (*SMALL, "--only", "lbfgs", "--stream", path)
    assert run("bench", "fit", *options).code == 0
    written = path.stat().st_mtime_ns
    assert run("bench", "fit", *options).code == 0
    assert path.stat().st_mtime_ns == written
    refused = run("bench", "fit", *options, "--seed", 1)
    assert refused.code == 3
    assert "synthetic.seed: 0 -> 1" in refused.error
    assert run("bench", "fit", path, "--only", "lbfgs", "--repeat", 1).code == 0


def test_a_cache_has_its_own_shape(run, digits_cache):
    document = run(
        "bench", "fit", digits_cache, "--only", "lbfgs", "--repeat", 1, "--json"
    ).document
    cached = open_cache(digits_cache)
    assert document["problem"]["fingerprint"] == cached.fingerprint
    assert document["problem"]["views"] == 2
    done = run("bench", "fit", digits_cache, "--samples", 300)
    assert done.code == 2
    assert "--samples: synthetic rows or a cache expected, got both" in done.error


def test_no_ridge_is_refused(run):
    done = run("bench", "fit", *SMALL, "--l2", 0)
    assert done.code == 2
    assert "no optimum is certified" in done.error


def test_long_runs_tell_what_they_do(run, monkeypatch):
    monkeypatch.setattr("pipeline.cli.bench.fit.LONG_LOGITS", 100)
    done = run("bench", "fit", *SMALL, "--only", "lbfgs")
    assert "bench: 1/1 marr: lbfgs" in done.err
