"""A malformed list: one line that names file and line, the documented exit code, no output."""

import pytest

GOOD = ("a/1.png 0", "a/2.png 0", "b/1.png 1")


@pytest.fixture
def train(run, tmp_path):
    """`pipeline train` on list files with the given lines."""

    def run_train(*options, dataset="list", **lists):
        arguments = ["train", "--dataset", dataset, "--data-root", tmp_path]
        for split, lines in lists.items():
            path = tmp_path / f"{split}.txt"
            path.write_text("".join(f"{line}\n" for line in lines))
            arguments += [f"--list-{split}", path]
        done = run(*arguments, *options, "--iterations", 1, "-o", tmp_path / "net.pt", "--json")
        assert not (tmp_path / "net.pt").exists()
        assert done.out == ""
        return done

    return run_train


@pytest.mark.parametrize(
    ("lines", "place", "what"),
    [
        (["a/1.png 0", "my cat.png 1"], "line 2", "a path without blanks"),
        (["a/1.png 0", "b/1.png 2"], "train.txt", "none of label 1"),
        (GOOD, "line 1", "(3 of 3 images are missing)"),
    ],
)
def test_a_malformed_list_of_training_images(lines, place, what, train):
    done = train(train=lines)
    assert done.code == 3
    assert "train.txt" in done.error
    assert place in done.error
    assert what in done.error


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--path-prefix", "val"], "--path-prefix: OLD=NEW expected, got 'val'"),
        (["--image-size", "4"], "at least 8 pixels expected, got 4"),
    ],
)
def test_options_that_mean_nothing_are_usage(options, what, train):
    done = train(*options, train=GOOD)
    assert done.code == 2
    assert what in done.error


def test_lists_of_a_dataset_without_lists_are_usage(train):
    done = train(dataset="folder", train=GOOD)
    assert done.code == 2
    assert "none expected for folder" in done.error


def test_no_list_at_all_is_usage(train):
    done = train()
    assert done.code == 2
    assert "--list-train" in done.error


def test_a_list_that_does_not_exist_is_usage(train, tmp_path):
    done = train("--list-train", tmp_path / "nowhere.txt")
    assert done.code == 2
    assert "nowhere.txt" in done.error
