#!/usr/bin/env bash
@SBATCH@

# Written by `jouletune slurm submit`. Ray starts on the nodes of the allocation, and the search joins it. If
# Slurm's time runs out first, the search ends cleanly and the job queues itself again, to resume the run.
# `sbatch` with this file submits it once more.
set -u
python=@PYTHON@
ray=@RAY@
journal=@JOURNAL@
ray_log=${journal%/*}/slurm-$SLURM_JOB_ID-ray.log
search=(@SEARCH@)
export PYTHONPATH=@ROOT@${PYTHONPATH:+:$PYTHONPATH}

# A token of this job's own, in its environment and nowhere else: nothing without it can join.
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export RAY_AUTH_TOKEN RAY_AUTH_MODE=token
# Ray's metrics have fixed ports, which collide with those of other jobs on the node, and ask for no token.
export AUTOSCALER_METRIC_PORT=-1 DASHBOARD_METRIC_PORT=-1 RAY_enable_metrics_collection=0
unset RAY_ADDRESS
# Short: the paths of Ray's sockets below it have 107 bytes at most, and Slurm's TMPDIR is often long.
RAY_FOLDER=$(mktemp -d "${RAY_TMPDIR:-/tmp}/jt-XXXXXX") || exit 1
export RAY_FOLDER

# What runs on each node: Ray until it is told to end, with the node's share of the allocation, on ports that
# are free, and with its files in a folder that no other user can read.
node='
(umask 077; mkdir -p "$RAY_FOLDER") && [ -O "$RAY_FOLDER" ] || { echo "$RAY_FOLDER is of another user" >&2; exit 1; }
trap '\''is_over=1; [ -z "$ray" ] || kill -TERM "$ray" 2>/dev/null'\'' TERM USR1
is_over= ray=
"$@" --block --disable-usage-stats --num-cpus="$SLURM_CPUS_ON_NODE" --num-gpus="${SLURM_GPUS_ON_NODE:-0}" \
    --min-worker-port=0 --max-worker-port=0 --dashboard-agent-listen-port=0 &
ray=$!
[ -z "$is_over" ] || kill -TERM "$ray"
wait "$ray" # until a signal, and then until Ray has ended
wait "$ray"
rm -rf "$RAY_FOLDER"
'

running= address= head= workers= is_time_over= is_cancelled=
on_time_over() { # 120 s and the grace of running epochs before Slurm ends the job
    is_time_over=1
    echo "the job's time is nearly over: the search ends after the epochs under way"
    [ -n "$running" ] && kill -TERM "$running" 2>/dev/null
}
trap on_time_over USR1
trap is_cancelled=1 TERM # Slurm sends it to the search as well

wait_for() { # a signal interrupts `wait`, and bash keeps the status of a process that has ended
    while kill -0 "$1" 2>/dev/null; do wait "$1"; done
    wait "$1"
}

start_ray() {
    local nodes place others
    nodes=($(scontrol show hostnames "$SLURM_JOB_NODELIST"))
    for _ in 1 2 3; do # another process may take the port before Ray does
        read -r -a place < <("$python" -m search.backends.ray.allocation place "${nodes[1]:-127.0.0.1}") || return 1
        bash -c "$node" node "$ray" start --head --node-ip-address="${place[0]}" --port="${place[1]}" \
            --ray-client-server-port="${place[2]}" --dashboard-port="${place[3]}" --include-dashboard=false \
            --temp-dir="$RAY_FOLDER/r" >>"$ray_log" 2>&1 &
        head=$!
        address=${place[0]}:${place[1]}
        "$python" -m search.backends.ray.allocation await-head "$address" "$head" && break
        kill -TERM "$head" 2>/dev/null
        wait_for "$head"
        head=
    done
    [ -n "$head" ] || return 1
    if [ "${#nodes[@]}" -gt 1 ]; then
        others=$(IFS=,; echo "${nodes[*]:1}")
        srun --nodes=$((${#nodes[@]} - 1)) --ntasks=$((${#nodes[@]} - 1)) --ntasks-per-node=1 --nodelist="$others" \
            --export=ALL --input=none --cpu-bind=none --kill-on-bad-exit=0 --no-kill \
            bash -c "$node" node "$ray" start --address="$address" >>"$ray_log" 2>&1 &
        workers=$!
    fi
    "$python" -m search.backends.ray.allocation await-nodes "$address" "${#nodes[@]}"
}

stop_ray() { # srun passes USR1 on, while it ends its tasks at once on TERM: their folders would stay
    [ -n "$workers" ] && kill -USR1 "$workers" 2>/dev/null && wait_for "$workers"
    [ -n "$head" ] && kill -TERM "$head" 2>/dev/null && wait_for "$head"
    rm -rf "$RAY_FOLDER"
}

count_epochs() { cat "$journal" 2>/dev/null | grep -c '"event": "epoch"' || true; } # 0 without a journal, too

has_ended() { # by itself, and not by the signal that was passed on
    tail -n 1 "$journal" 2>/dev/null | grep '"event": "run_ended"' | grep -qv 'SIGTERM received'
}

before=$(count_epochs)
start_ray || { echo "Ray did not start; see $ray_log" >&2; stop_ray; exit 1; }
status=0
if [ -z "$is_time_over$is_cancelled" ]; then
    "${search[@]}" --address "$address" &
    running=$!
    [ -z "$is_time_over" ] || kill -TERM "$running" # it was signalled before its number was known
    wait_for "$running"
    status=$?
fi
stop_ray

# 4: Ray was lost, as with the node that it began on. A cancelled job is left to Slurm, which queues one
# that was preempted again by itself.
if [ -n "$is_cancelled" ] || has_ended || { [ -z "$is_time_over" ] && [ "$status" -ne 4 ]; }; then
    exit "$status"
fi
# A job that was preempted early has had no chance.
if [ "$(count_epochs)" = "$before" ] && { [ -z "$is_time_over" ] || [ "$SECONDS" -ge @HALF_S@ ]; }; then
    echo "no epoch ended in this job, and none would in another one like it: give it a longer --time" >&2
    exit 1
fi
scontrol requeue "$SLURM_JOB_ID" && exit 0
echo "Slurm did not queue the job again; resume the run with: sbatch" @SCRIPT@ >&2
exit 1
