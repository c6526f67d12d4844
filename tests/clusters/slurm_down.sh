#!/usr/bin/env bash
# Stop what slurm_up.sh FOLDER started. Run as root. Jobs are cancelled; the packages stay.
set -uo pipefail
folder=$(realpath -m "${1:?say which folder Slurm was started with}")
scancel --user="$(id -un)" 2>/dev/null
pids=()
for file in "$folder"/slurmd.pid "$folder"/slurmctld.pid /run/munge/munged.pid; do
    [ -s "$file" ] && pids+=("$(cat "$file")")
done
[ ${#pids[@]} -eq 0 ] || kill "${pids[@]}" 2>/dev/null
for pid in ${pids[@]+"${pids[@]}"}; do
    for _ in $(seq 100); do
        [ -d "/proc/$pid" ] || break
        sleep 0.1
    done
done
for name in slurm.conf gres.conf; do
    [ "$(readlink /etc/slurm/$name)" = "$folder/$name" ] && rm "/etc/slurm/$name"
done
exit 0
