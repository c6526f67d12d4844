#!/usr/bin/env bash
# Start a Slurm of one node on this machine: slurm_up.sh FOLDER. Run as root, after slurm_install.sh.
#
# For trying things out and for tests: all daemons run as root, without cgroups, accounting or systemd; all they write
# lies in FOLDER. The node claims SLOTS cores (default: twice as many as there are) and two GPUs that do not exist.
set -euo pipefail
folder=$(realpath -m "${1:?say in which folder Slurm may write}")
host=$(hostname -s)
memory=$(($(awk '/MemTotal/ {print $2}' /proc/meminfo) / 1024 - 512))
mkdir -p "$folder"/{state,spool,log}

# munge refuses to run as root and wants its own run folder and key.
install -d -o munge -g munge -m 0755 /run/munge
if [ ! -s /etc/munge/munge.key ]; then
    dd if=/dev/urandom of=/etc/munge/munge.key bs=128 count=1 status=none
    chown munge:munge /etc/munge/munge.key
    chmod 400 /etc/munge/munge.key
fi

cat >"$folder/gres.conf" <<END
NodeName=$host Name=gpu Count=2 File=/dev/null,/dev/zero
END
cat >"$folder/slurm.conf" <<END
ClusterName=one
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CryptoType=crypto/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=2
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=500
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
SlurmdParameters=config_overrides
KillWait=5
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
GresTypes=gpu
NodeName=$host NodeAddr=127.0.0.1 CPUs=${SLOTS:-$((2 * $(nproc)))} RealMemory=$memory Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
# Jobs do not always inherit SLURM_CONF, so the files must be where every command looks.
ln -sf "$folder/slurm.conf" "$folder/gres.conf" /etc/slurm/

munge -n </dev/null >/dev/null 2>&1 || runuser -u munge -- /usr/sbin/munged
slurmctld -c
slurmd -c
for _ in $(seq 150); do
    if sinfo -h -o %T 2>/dev/null | grep -q idle; then
        sinfo
        exit 0
    fi
    sleep 0.2
done
echo "Slurm's node did not become idle within 30 s; see $folder/log" >&2
exit 1
