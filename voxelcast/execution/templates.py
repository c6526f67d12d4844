"""Commented profiles, to be filled in."""

from __future__ import annotations

from voxelcast.core.checks import check_option

_JOBS = """
# Steps run in jobs that are asked for when a run begins and given back when it ends. A job runs one step on each of its
# cores, or on each of its GPUs where it has some.
workers:
  jobs: 10                    # at the same time; a job that goes before its time is replaced
  cores: 1                    # of each job
  memory: 8GB                 # of each job; a step that takes more than its share is ended and reported
  time: "04:00:00"            # of each job; long enough for several steps
{queue}
# gpu_workers:                # left out: features are extracted on the workers above
#   jobs: 2                   # given back as soon as the features are extracted
#   gpus: 1
#   cores: {gpu_cores}
#   memory: 32GB
#   time: "02:00:00"
#   queue: gpu
"""

_SHARED = """
# A folder that all machines see under this path. Job logs go to shared_folder/logs. The output of a run (and --store)
# and the data must be in such a folder too.
shared_folder: {folder}
"""

_RETRIES = """
retries: 2                    # how often a step is tried again whose worker was lost (killed, no memory, no time)
"""

_LINES = """  # setup:                    # lines of shell before the worker starts
  #   - module load cuda
  #   - source ~/miniconda3/bin/activate voxelcast
  # directives: [{directive}]
"""

_CLUSTER_END = """
# python: /path/to/python     # of the workers; left out: the one that runs voxelcast run
# interface: ib0              # network interface on which workers and voxelcast run reach each other
# local_folder: /tmp          # for the workers' own small files; not shared
"""

_SLURM = (
    "# Where voxelcast runs its steps: jobs of Slurm. Try it out: voxelcast execution check PROFILE\nscheduler: slurm\n"
    + _SHARED.format(folder="~/voxelcast")
    + _JOBS.format(
        queue="  # queue: main               # partition\n  # account: my-lab\n"
        + _LINES.format(directive='"--qos=normal", "--exclude=node13"'),
        gpu_cores=4,
    )
    + _RETRIES
    + _CLUSTER_END
)

_GRID_ENGINE = (
    "# Where voxelcast runs its steps: jobs of Grid Engine. Try it out: voxelcast execution check PROFILE\n"
    "scheduler: grid-engine\n"
    + _SHARED.format(folder="~/voxelcast")
    + _JOBS.format(
        queue="  # queue: all.q\n  # account: my-project      # -P\n" + _LINES.format(directive='"-l hostname=node1*"'),
        gpu_cores="1                  # Grid Engine counts GPUs for each core",
    )
    + _RETRIES
    + """
parallel_environment: smp     # for jobs of several cores; qconf -spl lists yours
# memory_resource: mem_free   # what your site calls memory (h_vmem, mem_free, ...); left out: none is asked for
# gpu_resource: gpu           # what your site calls a GPU
"""
    + _CLUSTER_END
)

_LOCAL = """# Where voxelcast runs its steps: processes on this machine, one BLAS thread each.
scheduler: local
# workers: 4                  # left out: compute.workers of the experiment, or as many as there are cores

retries: 2                    # how often a step is tried again whose worker was killed
"""

_GOOGLE = (
    """# Where voxelcast runs its steps: virtual machines of Google Cloud. Try it out: voxelcast execution check PROFILE
# Read docs/clusters.md first: what has to be there, and what has been run for real.
scheduler: google
project: my-project
zone: europe-west4-a
# network: default
image: europe-west4-docker.pkg.dev/my-project/lab/voxelcast:0.1    # Docker image with voxelcast[google] in it
# source_image: projects/ubuntu-os-cloud/global/images/family/ubuntu-2204-lts
# scheduler_machine_type: e2-standard-2
# disk_gb: 50
# service_account: default
# labels: {study: v4}
# public_addresses: true      # false: only inside the network, through Cloud NAT
"""
    + _SHARED.format(folder="/mnt/voxelcast")
    + """# Lines of shell on each machine before its container starts, run as root; this mounts a Filestore share.
setup:
  - apt-get install -y nfs-common
  - mkdir -p /mnt/voxelcast
  - mount -t nfs 10.0.0.2:/share /mnt/voxelcast

# bucket_inputs: gs://my-bucket/my-study      # copied to shared_folder/my-study before a run; only what is new
# bucket_results: gs://my-bucket/results      # the output without its steps is copied there after a run

workers:
  machines: 8                 # each runs one step at a time: many small machines serve better than few large ones
  machine_type: n2-standard-2
  memory: 7GB                 # what a step may take; a little less than the machine has
  # preemptible: true         # cheaper, may be taken away at any time; the step is tried again
# gpu_workers:
#   machines: 1
#   machine_type: n1-standard-8
#   gpus: 1
#   gpu_type: nvidia-tesla-t4
#   memory: 28GB
"""
    + _RETRIES
)

_TEMPLATES = {"local": _LOCAL, "slurm": _SLURM, "grid-engine": _GRID_ENGINE, "google": _GOOGLE}


def profile_template(scheduler: str) -> str:
    """Return a commented profile.

    Raises
    ------
    OptionError
        If there is no such scheduler.
    """
    check_option("scheduler", scheduler, list(_TEMPLATES))
    return _TEMPLATES[scheduler]
