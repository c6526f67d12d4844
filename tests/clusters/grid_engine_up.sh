#!/usr/bin/env bash
# Start a Grid Engine of one node on this machine: grid_engine_up.sh FOLDER. Run as root, after grid_engine_install.sh.
#
# For trying things out and for tests: the scheduler looks every second, root may run jobs, and the queue all.q has
# SLOTS slots (default: twice as many as there are cores). FOLDER holds the settings that were made.
set -euo pipefail
folder=$(realpath -m "${1:?say in which folder settings may be written}")
. "$(dirname "$0")/grid_engine_env.sh"
host=$(hostname)
common=$SGE_ROOT/$SGE_CELL/common
mkdir -p "$folder"

echo "$host" >"$common/act_qmaster"
# 127.0.0.1 resolves back to "localhost" while the commands call themselves by the host's name; without this line
# every command is refused. It is read when the master starts.
echo "$host localhost" >"$common/host_aliases"

/usr/sbin/sge_qmaster
for _ in $(seq 150); do
    qconf -sh >/dev/null 2>&1 && break
    sleep 0.2
done
qconf -ah "$host" >/dev/null 2>&1 || true
qconf -as "$host" >/dev/null 2>&1 || true

# change OPTION-TO-SHOW OPTION-TO-MODIFY FILE NAME=VALUE...: change some lines of a configuration.
change() {
    local show=$1 modify=$2 file=$folder/$3
    shift 3
    SGE_SINGLE_LINE=1 qconf "$show" >"$file"
    for setting in "$@"; do
        sed -i -E "s|^(${setting%%=*} +).*|\1${setting#*=}|" "$file"
    done
    qconf "$modify" "$file" >/dev/null
}
change -ssconf -Msconf scheduler schedule_interval=0:0:1 flush_submit_sec=1 flush_finish_sec=1
change -sconf -Mconf global load_report_time=00:00:02 min_uid=0 min_gid=0 shell_start_mode=unix_behavior

# GPUs are counted, not handed out: jobs that ask for gpu=1 share what there is.
if ! qconf -sc | grep -q '^gpu '; then
    { qconf -sc; echo "gpu gpu INT <= YES YES 0 0"; } >"$folder/complexes"
    qconf -Mc "$folder/complexes" >/dev/null
fi

/usr/sbin/sge_execd
for _ in $(seq 100); do
    qconf -sel 2>/dev/null | grep -q . && break
    sleep 0.2
done
qconf -aattr exechost complex_values gpu=2 "$(qconf -sel | head -n 1)" >/dev/null

cat >"$folder/hosts" <<END
group_name @allhosts
hostlist $host
END
qconf -shgrp @allhosts >/dev/null 2>&1 || qconf -Ahgrp "$folder/hosts" >/dev/null

cat >"$folder/smp" <<END
pe_name smp
slots 999
user_lists NONE
xuser_lists NONE
start_proc_args /bin/true
stop_proc_args /bin/true
allocation_rule \$pe_slots
control_slaves FALSE
job_is_first_task TRUE
urgency_slots min
accounting_summary FALSE
qsort_args NONE
END
qconf -sp smp >/dev/null 2>&1 || qconf -Ap "$folder/smp" >/dev/null

if ! qconf -sq all.q >/dev/null 2>&1; then
    # What a queue of that name would be by default, with our hosts, slots and shell.
    SGE_SINGLE_LINE=1 qconf -sq >"$folder/queue" 2>/dev/null
    sed -i -E \
        -e 's|^(qname +).*|\1all.q|' \
        -e 's|^(hostlist +).*|\1@allhosts|' \
        -e "s|^(slots +).*|\1${SLOTS:-$((2 * $(nproc)))}|" \
        -e 's|^(pe_list +).*|\1smp|' \
        -e 's|^(shell +).*|\1/bin/bash|' \
        -e 's|^(load_thresholds +).*|\1NONE|' "$folder/queue"
    qconf -Aq "$folder/queue" >/dev/null
fi
for _ in $(seq 150); do
    if qstat -f 2>/dev/null | grep '^all.q' | grep -qv 'a\?u$'; then
        qstat -f
        exit 0
    fi
    sleep 0.2
done
echo "the queue all.q did not become ready within 30 s; see /var/spool/gridengine/qmaster/messages" >&2
exit 1
