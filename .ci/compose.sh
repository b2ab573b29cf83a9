# Builds and starts the stack of docker-compose.yml from a fresh clone, and checks
# it as its users see it.

project=
most_image_bytes=15000000

compose() { (cd "$work/clone" && docker-compose -p "$project" "$@"); }

prove_compose() {
  git clone -q . "$work/clone"
  project=image-streamer-ci-$$
  export APP_IMAGE=$project HTTP_PORT=127.0.0.1:0 VERSION=ci-$$ # port 0: any free one

  compose up -d --build
  find_app
  images_rise
  await "the container is healthy" 60 app_is healthy
  expect "runs as" "$(awk '/^Uid:/ { print $2 }' "/proc/$(inspect "$app" .State.Pid)/status")" 65532
  expect "version" "$(docker run --rm "$APP_IMAGE" version | cut -d ' ' -f 2)" "$VERSION"
  image_is_small

  local tester
  tester=$(compose ps -q tester)
  compose stop tester
  expect "tester's exit status" "$(inspect "$tester" .State.ExitCode)" 0
  await "No Data after the tester stopped" 60 no_data

  # Each tester asks for a session of its own once none is given.
  sed -i '/TEST_SESSION/d' "$work/clone/docker-compose.yml"
  compose up -d
  compose scale tester=2
  find_app
  await "two testers have two sessions" 60 two_sessions

  expect "restarts" "$(inspect "$app" .RestartCount)" 0
  docker stop -t 15 "$app" >/dev/null
  expect "exit status after SIGTERM" "$(inspect "$app" .State.ExitCode)" 0
  compose down -v
}

# find_app sets app and url: the container of the server, and its address.
find_app() {
  app=$(compose ps -q app)
  url=http://$(compose port app 3000)
  echo "the server is at $url"
}

inspect() { docker inspect -f "{{$2}}" "$1"; }
app_is() { [ "$(inspect "$app" .State.Health.Status)" = "$1" ]; }

images_rise() {
  local last=0 deadline=$((SECONDS + 90)) seen=0 sequence
  while [ $seen -lt 4 ]; do
    [ $SECONDS -lt $deadline ] || fail "only $seen images came"
    if fetch /image/xyzabc && [ "$(header X-No-Data)" != true ]; then
      sequence=$(header X-Sequence)
      expect "image $sequence" "$(header Content-Type)$(first_bytes 3)" "image/jpeg ff d8 ff"
      [ "$sequence" -gt "$last" ] || fail "image $sequence after $last"
      last=$sequence seen=$((seen + 1))
    fi
    sleep 0.3
  done
}

no_data() {
  fetch /image/xyzabc && [ "$(header X-No-Data)" = true ] &&
    [ "$(header Content-Type)$(first_bytes 4)" = "image/png 89 50 4e 47" ]
}

two_sessions() {
  fetch /stats && grep -q '"numSessions":2[,}]' "$work/body" && ! grep -q xyzabc "$work/body" && cat "$work/body"
}

image_is_small() {
  local bytes
  bytes=$(docker image inspect -f '{{.Size}}' "$APP_IMAGE")
  [ "$bytes" -le $most_image_bytes ] || fail "the image has $bytes bytes, more than $most_image_bytes"
  echo "ok: the image has $bytes bytes, at most $most_image_bytes"
}

# fetch PATH gets an answer of the server; header NAME prints one of its headers,
# and first_bytes COUNT the beginning of its body in hex.
fetch() { curl -sS --max-time 5 -o "$work/body" -D "$work/headers" "$url$1"; }
first_bytes() { head -c "$1" "$work/body" | od -An -tx1; }
header() { tr -d '\r' <"$work/headers" | awk -F ': ' -v name="$1" 'tolower($1) == tolower(name) { print $2 }'; }

# expect WHAT GOT WANT fails the run if GOT is not WANT.
expect() {
  [ "$2" = "$3" ] || fail "$1: got '$2', want '$3'"
  echo "ok: $1: $2"
}

# await WHAT SECONDS COMMAND... repeats a command until it succeeds.
await() {
  local what=$1 deadline=$((SECONDS + $2))
  shift 2
  until "$@"; do
    [ $SECONDS -lt $deadline ] || fail "not in time: $what"
    sleep 0.5
  done
  echo "ok: $what"
}

print_container_logs() {
  local container
  for container in $({
    docker ps -aq --filter "label=$label"
    docker ps -aq --filter "label=com.docker.compose.project=${project:-none}"
  } 2>/dev/null | sort -u); do
    docker inspect -f '== log of {{.Name}} ({{.State.Status}}, status {{.State.ExitCode}})' "$container"
    docker logs --tail 40 "$container" 2>&1
  done
}

compose_cleanup() {
  [ -n "$project" ] || return 0
  compose down -v --remove-orphans
  docker rmi -f "$project"
}
