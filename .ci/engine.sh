# The Docker engine: one that is running already, or one that this run starts.

engine= # pid of the engine that this run started

start_engine() {
  if engine_answers; then
    echo "an engine runs already and is used as it is"
    return
  fi
  grep -q '^cgroup' /proc/mounts || mount_cgroups
  if ! grep -qsx dockerd /proc/[0-9]*/comm; then
    # An engine that was killed leaves these files. Their process ids may belong to other processes by now.
    rm -f /run/docker.pid /run/docker/containerd/containerd.pid
  fi
  setsid dockerd >"$work/dockerd.log" 2>&1 &
  engine=$!
  local deadline=$((SECONDS + 60))
  until engine_answers; do
    if [ $SECONDS -ge $deadline ] || ! kill -0 $engine 2>/dev/null; then
      tail -n 40 "$work/dockerd.log"
      fail "the Docker engine did not start"
    fi
    sleep 0.5
  done
  echo "started an engine, process $engine"
}

engine_answers() { timeout 20 docker version >/dev/null 2>&1; }

mount_cgroups() {
  apt-get install -q -y --no-install-recommends cgroupfs-mount
  cgroupfs-mount
}

stop_engine() {
  [ -n "$engine" ] || return 0
  kill "$engine" 2>/dev/null
  for _ in {1..60}; do
    kill -0 "$engine" 2>/dev/null || return 0
    sleep 0.5
  done
  kill -9 "$engine"
}
