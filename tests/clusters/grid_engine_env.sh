# Where Debian's Grid Engine lies: source this file before qsub, qstat or voxelcast run --on.
export SGE_ROOT=/var/lib/gridengine SGE_CELL=default
export PATH=$PATH:/usr/lib/gridengine
