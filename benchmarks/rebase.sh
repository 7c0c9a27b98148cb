#!/bin/sh
# A rebase of 50 commits that change no pointer, with our hooks and without, side by side.
# Usage: benchmarks/rebase.sh   (devml-git on PATH; Linux: dates in milliseconds)
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
git init -q -b main .
git config user.name bench
git config user.email bench@example.org
mkdir models data
head -c 50000000 /dev/urandom >models/a.pt
for i in $(seq 1 1000); do echo "$i" >"data/$i"; done
devml-git init --track 'models/**' --track data/ >/dev/null
git add -A
git commit -qm base 2>/dev/null
git checkout -q -b topic
for i in $(seq 1 50); do
    echo "$i" >"f$i"
    git add "f$i"
    git commit -qm "$i"
done
git checkout -q main
echo z >z
git add z
git commit -qm z
sleep 2
git commit -q --allow-empty -m settled

timed() {
    git checkout -q main
    git branch -qf work topic
    git checkout -q work
    sleep 1
    start=$(date +%s%N)
    git -c core.hooksPath="$1" rebase -q main
    end=$(date +%s%N)
    echo "$2: $(((end - start) / 1000000)) ms"
}

for _ in 1 2 3 4 5; do
    timed /dev/null without
    timed .git/hooks with
done
