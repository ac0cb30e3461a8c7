#!/usr/bin/env bash
# What the program does on a GPU, for whoever has one for ten minutes.
#
#     bash benchmarks/gpu.sh DATA_ROOT [SECONDS]
#     SCALE=0.002 DEVICE=cpu bash benchmarks/gpu.sh data 300      # a rehearsal without one
#
# DATA_ROOT has cifar10 and cifar100, each a folder or a .zip. Parts in the order of their worth, each
# within its own time: the tests that want a GPU, one pass and whole fits at the sizes of ImageNet-LT and
# iNaturalist 2018, a whole head, 200 steps of the CIFAR recipe beside bare steps, the same compiled, and
# with the rest of the time the paper's Table 2, network by network. Results go to $OUT (gpu-out) after each part:
# summary.txt, and results.tgz with a log and a record of each part and the records of Table 2; at the end
# also checkpoints that are no caches yet, from which `pipeline reproduce table2` goes on. Needs what
# setup.cfg needs (Python 3.11, torch 2.6 or newer), no network, and installs nothing but this program,
# into a folder of its own.
set -u
data=$(realpath "${1:?the folder with cifar10 and cifar100}") total=${2:-540}
begin=$(date +%s) root=$(cd "$(dirname "$0")/.." && pwd)
out=$(realpath -m "${OUT:-gpu-out}") work=$(mktemp -d)
results=$work/results
python=$(command -v python3) device=${DEVICE:-cuda} scale=${SCALE:-1}
mkdir -p "$out" "$results"
trap 'rm -rf "$work"' EXIT

scaled() { awk -v n="$1" -v least="$2" -v s="$scale" 'BEGIN { v = int(n * s); print v < least ? least : v }'; }
left() { echo $((total - $(date +%s) + begin)); }
keep() { tar czf "$out/results.tgz.new" -C "$work" results && mv "$out/results.tgz.new" "$out/results.tgz"; }
part() {  # NAME SECONDS COMMAND...
  local name=$1 limit=$2 start code; shift 2; start=$(date +%s)
  [ "$limit" -gt "$(left)" ] && limit=$(left)
  if [ "$limit" -lt 10 ]; then echo "$name: no time left" | tee -a "$out/summary.txt"; return 1; fi
  (cd "$work" && timeout --signal=TERM --kill-after=15 "$limit" "$@") >"$work/$name.log" 2>&1; code=$?
  tail -c 20000 "$work/$name.log" >"$results/$name.log"
  echo "$name: exit $code, $(($(date +%s) - start)) s: $(grep -v '^ *$' "$results/$name.log" | tail -n 1 | cut -c1-160)" |
    tee -a "$out/summary.txt"
  keep
  return $code
}

# A copy: the build leaves folders in what it builds.
part install 120 bash -c "mkdir source && cp -r '$root'/{cache,pipeline,plots,setup.*,pyproject.toml,README.md} source &&
  '$python' -m pip install -q --no-index --no-deps --no-build-isolation --target '$work/site' ./source"
export PYTHONPATH=$work/site PYTHONUNBUFFERED=1
pipeline=("$python" -m marr_pipeline) bench=$root/benchmarks

part machine 60 "${pipeline[@]}" doctor
part tests 150 "$python" -m pytest -q -m gpu -p no:cacheprovider --rootdir "$root" \
  $(grep -rl "mark.gpu" "$root/tests" --include="*.py")
if [ -f "$data/cifar10.zip" ]; then
  part unzip 60 "$python" -m zipfile -e "$data/cifar10.zip" . && cifar10=$work/cifar10
fi
samples=$(scaled 115846 2000) classes=$(scaled 1000 20)
part passes 60 "$python" "$bench/passes.py" --samples "$samples" --classes "$classes" --imbalance-ratio 256 \
  --device "$device" --repeat 5 -o "$results/passes.json"
part fits 60 "$python" "$bench/fits.py" --samples "$samples" --classes "$classes" --imbalance-ratio 256 \
  --preset paper --center identity --l2 0.01 --rivals torch-float32 --device "$device" --repeat 3 -o "$results/fits.json"
part steps 90 "$python" "$bench/training.py" --dataset cifar10-lt --data-root "${cifar10:-$data/cifar10}" --batch-size 512 \
  --steps "$(scaled 200 2)" --device "$device" --repeat 2 -o "$results/steps.json"
part inaturalist 90 "$python" "$bench/passes.py" --samples "$(scaled 437513 2000)" --classes "$(scaled 8142 20)" \
  --imbalance-ratio 500 --device "$device" --repeat 2 -o "$results/inaturalist.json"
cat >"$work/features.py" <<P
import sys
import numpy as np
n, k, d = map(int, sys.argv[1:]); rng = np.random.default_rng(0)
prior = (np.arange(k) + 1.0) ** -1; y = rng.choice(k, n, p=prior / prior.sum()); y[:k] = np.arange(k)
z = rng.standard_normal((n, d), dtype=np.float32) + rng.standard_normal((k, d), dtype=np.float32)[y] / 2
np.savez("features.npz", features=z, labels=y)
P
part features 60 bash -c "'$python' features.py $samples $classes 768 && '$python' -m marr_pipeline import --train features.npz -o head.h5"
part head 60 "${pipeline[@]}" rectify head.h5 --method head --l2 1e-4 --device "$device" --json
# On a CPU the compiler alone takes minutes.
[ "$device" = cpu ] || part compiled 90 "$python" "$bench/training.py" --dataset cifar10-lt --data-root "${cifar10:-$data/cifar10}" --batch-size 512 \
  --steps "$(scaled 200 2)" --compile --device "$device" --repeat 2 -o "$results/compiled.json"
rest=$(left)
part table2 "$rest" "${pipeline[@]}" reproduce table2 --data-root "$data" --scale "$scale" --device "$device" \
  --budget "$((rest > 75 ? rest - 45 : 30))s" -o "$work/paper"
mkdir -p "$results/paper"
cp "$work"/paper/*.json "$work"/paper/*.md "$work"/paper/*.csv "$results/paper/" 2>/dev/null
keep
for one in "$work"/paper/*.pt; do [ -f "$one" ] && [ ! -f "${one%.pt}.json" ] && cp "$one" "$out/"; done
echo "all: $(($(date +%s) - begin)) s; $out/results.tgz" | tee -a "$out/summary.txt"
