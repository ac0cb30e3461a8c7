"""Every case: command lines that run one after another in a folder with the files they name."""

from golden.inputs import (
    BAD_CACHES,
    BAD_CONFIGS,
    BAD_HEADS,
    BAD_LISTS,
    BAD_NUMBERS,
    BAD_RECTIFIERS,
    BAD_ROWS,
)

AFFINE = {
    "softmax": "--method softmax",
    "logit-adjustment": "--method logit-adjustment",
    "logit-adjustment-tau": "--method logit-adjustment --tau 0.5",
    "tau-norm": "--method tau-norm",
    "tau-norm-bias": "--method tau-norm --tau 0.7 --keep-bias",
    "tde": "--method tde",
    "temperature": "--method temperature --preset tempered",
    "temperature-paper": "--method temperature --preset paper",
    "vector-scaling": "--method vector-scaling --preset tempered",
    "vector-scaling-paper": "--method vector-scaling --preset paper",
    "lws": "--method lws",
    "lws-paper": "--method lws --preset paper",
    "lws-newton": "--method lws --optimizer newton",
    "marr": "",
    "marr-paper": "--preset paper",
    "marr-newton": "--optimizer newton",
    "marr-newton-paper": "--optimizer newton --preset paper",
    "marr-plain": "--reduction plain",
    "marr-weighted": "--preset paper --reduction weighted",
    "marr-zero": "--center zero --l2 0.01",
    "marr-identity": "--center identity --l2 0.01",
    "marr-logit-adjustment": "--center logit-adjustment --l2 0.01",
    "marr-tempered": "--preset paper --center tempered --l2 1 --scale-l2 0.05",
    "marr-gamma-0": "--gamma 0",
    "marr-gamma-2": "--preset paper --gamma 2",
    "marr-no-ridge": "--l2 0 --preset paper",
    "marr-tolerance": "--preset paper --tolerance 1e-10",
    "marr-features": "--preset paper --from features",
    "marr-clean": "--preset paper --fit-views clean",
    "marr-all": "--preset paper --fit-views all",
    "marr-memory": "--preset paper --memory 64M",
}
WHOLE = {
    "crt": "--method crt",
    "crt-lbfgs": "--method crt --optimizer lbfgs",
    "balanced-softmax-head": "--method balanced-softmax-head",
    "disalign": "--method disalign",
    "disalign-paper": "--method disalign --preset paper",
    "disalign-cvpods": "--method disalign --form cvpods",
}
DIGITS = {
    "balanced-softmax-head-lbfgs": "--method balanced-softmax-head --optimizer lbfgs",
    "crt-clean": "--method crt --fit-views clean",
    "crt-gamma": "--method crt --gamma 0.5 --l2 0.01 --reduction plain",
    "tde-alpha": "--method tde --alpha 0.5",
    "marr-official": "--preset official",
    "marr-sgd": "--optimizer sgd --preset paper --seed 3",
    "lws-official": "--method lws --preset official",
    "crt-official": "--method crt --preset official",
    "balanced-softmax-head-official": "--method balanced-softmax-head --preset official",
    "disalign-official": "--method disalign --preset official",
    "marr-eval-tune": "--eval-split tune",
    "marr-config": "--config config.toml",
    "marr-config-less": "--config config.toml --gamma 1.5",
    "tune-nothing": "--tune auto --gamma 1 --l2 1 --center zero",
    "marr-tolerance-least": "--tolerance 1e-30",
    "tune-lws": "--method lws --tune auto --gamma 1",
    "tune-marr": "--tune auto --tune-score accuracy --center identity --l2 0.1 --seed 1",
}
TAIL = {
    "marr-fit-tune": "--fit-split tune --preset paper",
    "marr-eval-tune": "--eval-split tune",
    "tune-temperature": "--method temperature --preset tempered --tune auto --l2 0.01",
    "tune-marr": "--tune auto --center logit-adjustment --gamma 1",
    "tune-marr-accuracy": "--tune auto --tune-score accuracy --l2 0.01 --gamma 1",
}
HEADS = ("crt", "balanced-softmax-head", "disalign")
"""Methods that fit more than scales and shifts."""
APPLIED = ("marr", "marr-paper", "tde")


def fits() -> dict[str, tuple[str, ...]]:
    found = {}
    for cache, own in (("digits", DIGITS), ("tail", TAIL)):
        for name, options in {**AFFINE, **WHOLE, **own}.items():
            commands = [f"rectify {cache}.h5 {options} --json -o fit.safetensors"]
            if name in APPLIED or name.startswith(HEADS):
                commands.append(f"apply {cache}.h5 fit.safetensors -o applied.npz")
            found[f"rectify.{cache}.{name}"] = tuple(commands)
    return found


STORED = "marr.safetensors crt.safetensors disalign.safetensors"
QUICK = "--methods lws,marr,marr:paper --resamples 200"
DIGITS_KEYS = (
    "lws,lws:paper,tau-norm,marr,marr:paper,crt,balanced-softmax-head,disalign,disalign:paper,tde"
)
TAIL_KEYS = "lws:paper,tau-norm,marr,marr:paper,crt,disalign,tde"
SEEDS = tuple(f"import --train train-{n}.npz --test test-{n}.npz -o seed-{n}.h5" for n in range(3))

REPORTS = {
    "compare.digits": (f"compare digits.h5 --methods {DIGITS_KEYS} --resamples 500 --json",),
    "compare.tail": (f"compare tail.h5 --methods {TAIL_KEYS} --resamples 200 --json",),
    "compare.tail.tune": (f"compare tail.h5 --split tune {QUICK} --json",),
    "compare.seed": (f"compare digits.h5 {QUICK} --seed 1 --json",),
    "compare.uniform": (f"compare digits.h5 {QUICK} --class-distribution uniform --json",),
    "compare.train": (f"compare digits.h5 {QUICK} --class-distribution train --json",),
    "compare.backward": (f"compare tail.h5 {QUICK} --class-distribution backward --json",),
    "compare.prior-text": (f"compare digits.h5 {QUICK} --class-distribution prior.txt --json",),
    "compare.prior-json": (f"compare digits.h5 {QUICK} --class-distribution prior.json --json",),
    "compare.prior-npy": (f"compare digits.h5 {QUICK} --class-distribution prior.npy --json",),
    "compare.prior-npz": (f"compare digits.h5 {QUICK} --class-distribution prior.npz --json",),
    "compare.terminal": (f"compare digits.h5 {QUICK} -o table.csv",),
    "compare.markdown": (f"compare digits.h5 {QUICK} --format markdown",),
    "compare.latex": (f"compare digits.h5 {QUICK} --format latex",),
    "compare.seeds": (*SEEDS, "compare seed-0.h5 seed-1.h5 seed-2.h5 --methods marr,lws --json"),
    "compare.seeds-table": (
        *SEEDS,
        "compare seed-0.h5 seed-1.h5 seed-2.h5 --methods marr -o table.csv",
    ),
    "compare.logits-alone": (SEEDS[0], f"compare seed-0.h5 {QUICK} --json"),
    "compare.absent-in-test": (
        "import --train train-0.npz --test test-gap.npz -o gap.h5",
        f"compare gap.h5 {QUICK} --class-distribution uniform --json",
    ),
    "evaluate.digits": (f"evaluate digits.h5 {STORED} --json",),
    "evaluate.digits.table": (f"evaluate digits.h5 {STORED}",),
    "evaluate.digits.train": (f"evaluate digits.h5 {STORED} --split train --json",),
    "evaluate.tail": (
        "rectify tail.h5 -o fit.safetensors",
        "evaluate tail.h5 fit.safetensors --json",
        "evaluate tail.h5 fit.safetensors --split tune",
    ),
    "evaluate.any-head": ("evaluate digits.h5 bad-head.safetensors --any-head --json",),
    "sweep.digits": ("sweep digits.h5 --gamma 0:1.6:0.4 --l2 0.1,3 --json",),
    "sweep.digits.table": ("sweep digits.h5 --gamma 0,1 --center zero,tempered --scale-l2 0.1,1",),
    "sweep.digits.lws": ("sweep digits.h5 --method lws --preset paper --l2 1e-3,0 --json",),
    "sweep.tail": (
        "sweep tail.h5 --preset paper --reduction plain,weighted --center zero,logit-adjustment "
        "--views 1,2 --json",
    ),
    "sweep.tail.views": ("sweep tail.h5 --fit-views clean,all --eval-split tune",),
    "inspect.digits": ("inspect digits.h5 --json", "inspect digits.h5"),
    "inspect.tail": ("inspect tail.h5 --json", "inspect tail.h5"),
    "verify": ("verify digits.h5", "verify tail.h5 --json", "verify bad-flipped-logit.h5"),
    "plot.curves.digits": (f"plot curves digits.h5 {STORED} -o curves.png",),
    "plot.confusion.digits": (f"plot confusion digits.h5 {STORED} -o confusion.png",),
    "plot.curves.tail": (
        "rectify tail.h5 --preset paper -o fit.safetensors",
        "plot curves tail.h5 fit.safetensors --split tune -o curves.svg",
    ),
    "plot.confusion.tail": (
        "rectify tail.h5 --preset paper -o fit.safetensors",
        "plot confusion tail.h5 fit.safetensors -o confusion.pdf",
    ),
    **{
        f"apply.{name}.{split}": (
            f"apply digits.h5 {name}.safetensors --split {split} -o applied.npz",
        )
        for name in ("marr", "crt", "disalign")
        for split in ("test", "train")
    },
    "apply.npz": ("apply rows-ten.npz marr.safetensors -o applied.npz",),
    "apply.npz.views": ("apply rows-ten-views.npz marr.safetensors -o applied.npz",),
    "apply.npz.features": (
        "apply rows-ten-features.npz crt.safetensors -o crt.npz",
        "apply rows-ten-features.npz disalign.safetensors -o disalign.npz",
    ),
    "rectify.table": ("rectify digits.h5", "rectify tail.h5 --method tau-norm"),
    "rectify.unbounded": (
        "import --train rows-separable.npz --test rows.npz -o own.h5",
        "rectify own.h5 --l2 0 --json -o fit.safetensors",
    ),
    "rectify.without-head": (SEEDS[0], "rectify seed-0.h5 --json -o fit.safetensors"),
    "rectify.prior-counts": (
        "import --train rows-features.npz --test rows-features.npz --head head-counts.npz "
        "-o own.h5",
        "rectify own.h5 --json -o fit.safetensors",
    ),
}

GOOD_IMPORTS = {
    "npz": "--train rows.npz",
    "features": "--train rows-features.npz --test rows.npz --head head.npz",
    "views": "--train rows-views.npz --tune rows.npz --head head.npz",
    "half": "--train rows-half.npz",
    "names": "--train rows-named.npz --head head-norms.npz",
    "counts": "--train rows-features.npz --head head-counts.npz",
    "csv": "--train rows.csv --test rows.csv",
    "csv-counted": "--train rows-counted.csv",
    "npy": "--train rows.npy --train-labels labels.npy",
    "safetensors": "--train rows.safetensors --head head.safetensors",
    "torch": "--train rows.pt",
}

IMPORTS = {
    **{
        f"import.{name}": (
            f"import {options} -o own.h5 --json",
            "inspect own.h5 --json",
            "verify own.h5",
        )
        for name, options in GOOD_IMPORTS.items()
    },
    "import.overwrite": (
        "import --train rows.npz -o own.h5",
        "import --train rows.npz -o own.h5",
        "import --train rows-half.npz -o own.h5 --overwrite --json",
    ),
}

BAD_FITS = {
    "method": "--method margin",
    "optimizer": "--optimizer adam",
    "preset": "--preset best",
    "center": "--center middle",
    "option": "--gama 1",
    "l2-negative": "--l2 -1",
    "l2-infinite": "--l2 inf",
    "gamma-nan": "--gamma nan",
    "gamma-word": "--gamma much",
    "tolerance": "--tolerance 0",
    "scale-l2": "--scale-l2 0",
    "seed": "--seed -1",
    "memory-zero": "--memory 0",
    "memory-word": "--memory much",
    "memory-little": "--memory 1K",
    "tau-of-another": "--tau 2",
    "alpha-of-another": "--alpha 2",
    "form-of-another": "--method crt --form paper",
    "keep-bias-of-another": "--method lws --keep-bias",
    "sampling": "--sampling class-balanced",
    "crt-center": "--method crt --center identity",
    "disalign-newton": "--method disalign --optimizer newton",
    "disalign-tune": "--method disalign --tune auto",
    "softmax-tune": "--method softmax --tune auto",
    "fit-on-test": "--fit-split test",
    "tune-on-test": "--tune auto --fit-split test",
    "tune-on-tune": "--tune auto --fit-split tune",
    "fit-split-absent": "--fit-split tune",
    "output-kind": "-o fit.txt",
    "output-folder": "-o missing/fit.safetensors",
}
EXTRACT = "extract --dataset list --data-root photos -o own.h5"
DIGITS_TRAINING = (
    "extract --dataset digits-lt --iterations 60 --batch-size 64 --views 2 --precision bfloat16"
)
OTHER_REFUSALS = {
    "command": ("rectifie digits.h5",),
    "no-argument": ("inspect", "evaluate", "plot curves"),
    "import.two-models": ("import --train rows.npz --test bad-other-classes.npz -o own.h5",),
    "import.two-class-lists": ("import --train rows-named.npz --test rows-renamed.npz -o own.h5",),
    "import.labels": (
        "import --train rows.npy -o own.h5",
        "import --train rows.npz --train-labels labels.npy -o own.h5",
        "import --train rows.npy --train-labels bad-labels.npy -o own.h5",
        "import --train rows.npy --train-labels bad-text.npy -o own.h5",
        "import --train rows.npz --test-labels labels.npy -o own.h5",
        "import --train rows.npz -o own.txt",
        "import --train rows.npz -o missing/own.h5",
    ),
    "compare.options": (
        "compare",
        "compare digits.h5 --methods margin",
        "compare digits.h5 --methods marr:best",
        "compare digits.h5 --split tune",
        "compare digits.h5 --resamples 10",
        "compare digits.h5 -o table.pdf",
        "compare digits.h5 -o missing/table.md",
    ),
    "compare.seeds": (
        "import --train train-0.npz --test test-0.npz -o seed-0.h5",
        "import --train train-four.npz -o four.h5",
        "import --train train-flat.npz --test test-0.npz -o flat.h5",
        "compare seed-0.h5 seed-0.h5",
        "compare seed-0.h5 four.h5",
        "compare seed-0.h5 flat.h5",
        "compare digits.h5 tail.h5",
        "compare seed-0.h5 --methods disalign",
    ),
    "lacks": (
        "import --train rows.npz --test rows.npz -o own.h5",
        "rectify own.h5 --method disalign",
        "rectify own.h5 --method crt",
        "rectify own.h5 --method tde",
        "rectify own.h5 --from features",
        "rectify own.h5 --fit-views clean",
    ),
    "tune-is-test": (
        "import --train rows.npz --tune rows.npz --test rows.npz -o own.h5",
        "rectify own.h5 --tune auto",
        "rectify tail.h5 --tune auto --fit-split tune",
    ),
    "evaluate": (
        "evaluate digits.h5 --split tune",
        "evaluate digits.h5 marr.safetensors marr.safetensors",
        "evaluate tail.h5 marr.safetensors",
        "evaluate tail.h5 marr.safetensors --any-head",
    ),
    "apply": (
        "apply digits.h5 marr.safetensors -o applied.csv",
        "apply digits.h5 marr.safetensors --split tune -o applied.npz",
        "apply tail.h5 marr.safetensors -o applied.npz",
        "apply rows.npz marr.safetensors -o applied.npz",
        "apply bad-nan.npz marr.safetensors -o applied.npz",
        "apply bad-nothing.npz marr.safetensors -o applied.npz",
        "apply bad-features.npz marr.safetensors -o applied.npz",
        "apply rows-ten.npz crt.safetensors -o applied.npz",
        "apply rows-ten-narrow.npz crt.safetensors -o applied.npz",
        "apply rows-ten.npz disalign.safetensors -o applied.npz",
    ),
    "sweep": (
        "sweep digits.h5 --gamma 1:0:0.1",
        "sweep digits.h5 --gamma a",
        "sweep digits.h5 --center middle",
        "sweep digits.h5 --l2=-1",
        "sweep digits.h5 --views 9",
        "sweep digits.h5 --eval-split tune",
    ),
    "plot": (
        "plot curves digits.h5 -o curves.bmp",
        "plot bars digits.h5 -o curves.png",
        "plot curves digits.h5 crt.safetensors --split tune -o curves.png",
        "plot curves tail.h5 crt.safetensors -o curves.png",
    ),
    "extract.options": (
        "extract --dataset cifar11 -o own.h5",
        "extract --dataset cifar10-lt -o own.h5",
        "extract --dataset cifar10-lt --data-root missing -o own.h5",
        "extract --dataset folder --data-root photos/empty -o own.h5",
        "extract --dataset folder --data-root photos -o own.h5",
        "extract --dataset digits-lt --imbalance-ratio 1.001 -o own.h5",
        "extract --dataset digits-lt --tune-fraction 1 -o own.h5",
        "extract --dataset digits-lt --backbone resnet9 -o own.h5",
        "extract --dataset digits-lt --batch-size 0 -o own.h5",
        "extract --dataset digits-lt --iterations 5 --epochs 2 -o own.h5",
        "extract --dataset digits-lt --normalisation grey -o own.h5",
        "extract --dataset digits-lt --augmentation resized-crop-flip -o own.h5",
        "extract --dataset digits-lt --checkpoint bad-empty.pt -o own.h5",
        "extract --dataset digits-lt --backbone resnet8 --checkpoint rows.pt -o own.h5",
        "extract --dataset digits-lt -o own.npz",
        "train --dataset digits-lt --select-on tune -o own.pt",
        "views --dataset digits-lt --rows 0 -o views.png",
        "views --dataset digits-lt -o views.bmp",
    ),
    "extract.stale": (
        f"{DIGITS_TRAINING} --seed 1 -o digits.h5",
        f"{DIGITS_TRAINING} --imbalance-ratio 10 -o digits.h5",
        f"{DIGITS_TRAINING} -o bad-text.h5",
    ),
    "extract.lists": (
        *(f"{EXTRACT} --list-train photos/{name}" for name in (*BAD_LISTS, "missing.txt")),
        f"{EXTRACT} --list-train photos/good.txt --list-test photos/good.txt",
        f"{EXTRACT} --list-train photos/good.txt --list-test photos/other-class.txt",
        EXTRACT,
    ),
}
REFUSALS = {
    **{
        f"refuse.rows.{name}": (f"import --train {name} -o own.h5 --json",)
        for name in (*BAD_ROWS, "missing.npz")
    },
    **{
        f"refuse.head.{name}": (f"import --train rows-features.npz --head {name} -o own.h5",)
        for name in (*BAD_HEADS, "bad-archive.npz", "missing.npz")
    },
    **{
        f"refuse.cache.{name}": (
            f"rectify {name} --json",
            f"inspect {name}",
            f"verify {name}",
            f"evaluate {name}",
            f"compare {name}",
        )
        for name in (*BAD_CACHES, "missing.h5", "photos")
    },
    **{
        f"refuse.rectifier.{name}": (
            f"evaluate digits.h5 {name}",
            f"apply digits.h5 {name} -o applied.npz",
        )
        for name in ("bad-text.safetensors", *BAD_RECTIFIERS, "missing.safetensors")
    },
    **{
        f"refuse.prior.{name}": (f"compare digits.h5 {QUICK} --class-distribution {name}",)
        for name in (*BAD_NUMBERS, "reversed")
    },
    **{
        f"refuse.config.{name}": (f"rectify digits.h5 --config {name} --json",)
        for name in (*BAD_CONFIGS, "missing.toml")
    },
    **{
        f"refuse.fit.{name}": (f"rectify digits.h5 {options} --json",)
        for name, options in BAD_FITS.items()
    },
    **{f"refuse.{name}": commands for name, commands in OTHER_REFUSALS.items()},
}

CASES: dict[str, tuple[str, ...]] = {**fits(), **REPORTS, **IMPORTS, **REFUSALS}
