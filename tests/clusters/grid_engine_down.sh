#!/usr/bin/env bash
# Stop what grid_engine_up.sh started. Run as root. Jobs are cancelled; packages and settings stay.
set -uo pipefail
. "$(dirname "$0")/grid_engine_env.sh"
qdel -u "$(id -un)" >/dev/null 2>&1
pids=()
for file in /var/spool/gridengine/execd/*/execd.pid /var/spool/gridengine/qmaster/qmaster.pid; do
    [ -s "$file" ] && pids+=("$(cat "$file")")
done
[ ${#pids[@]} -eq 0 ] || kill "${pids[@]}" 2>/dev/null
# The master takes some seconds; a second one started meanwhile would fight it.
for pid in ${pids[@]+"${pids[@]}"}; do
    for _ in $(seq 300); do
        [ -d "/proc/$pid" ] || break
        sleep 0.1
    done
done
exit 0
