# Local base images, for machines that reach no image registry. They stand in for
# golang and redis. They are made of what the machine has: Debian's redis-server,
# the installed Go, and the modules that go.mod names.

label=image-streamer-ci=$$-$(date +%s) # on what this run makes, and on containers of it

make_base_images() {
  local go redis
  go=$(go env GOVERSION)
  redis=$(redis-server --version | sed 's/.* v=\([^ ]*\) .*/\1/')
  export GO_IMAGE=image-streamer-ci/go:${go#go}
  export REDIS_IMAGE=image-streamer-ci/redis:$redis-debian
  export DOCKER_BUILDKIT=0 # the legacy builder: a Dockerfile that suits it suits the others too

  make_go_image
  make_redis_image
  docker image ls --filter "label=$label"
  echo "GO_IMAGE=$GO_IMAGE REDIS_IMAGE=$REDIS_IMAGE"
}

# make_go_image makes what a golang image is to the Dockerfile: Go, a shell and
# ca-certificates. It adds a module proxy made of files, because the build may
# not reach any other.
make_go_image() {
  local tree=$work/go proxy
  mkdir -p "$tree"/{go/proxy,tmp,root,usr/local/go}
  chmod 1777 "$tree/tmp"
  tar -C "$(go env GOROOT)" -c --exclude=./test --exclude=./api --exclude=./doc --exclude=testdata . |
    tar -C "$tree/usr/local/go" -x
  add_program "$tree" /bin/dash /bin/sh
  install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$tree/etc/ssl/certs/ca-certificates.crt"

  go mod download
  proxy=file://$(go env GOMODCACHE)/cache/download
  GOMODCACHE=$work/modules GOFLAGS=-modcacherw GOPROXY=$proxy go mod download
  cp -R "$work/modules/cache/download/." "$tree/go/proxy"

  import_image "$tree" "$GO_IMAGE" \
    'ENV PATH=/usr/local/go/bin:/bin GOPATH=/go GOTOOLCHAIN=local HOME=/root GOPROXY=file:///go/proxy' \
    'WORKDIR /go' 'CMD ["sh"]'
}

# make_redis_image makes what the official redis image is to its users: it listens
# without protected mode, so that other containers may ask it.
make_redis_image() {
  local tree=$work/redis
  mkdir -p "$tree"/{data,tmp}
  add_program "$tree" /usr/bin/redis-server /usr/bin/redis-server
  add_program "$tree" /usr/bin/redis-cli /usr/bin/redis-cli
  add_program "$tree" /bin/dash /bin/sh
  cat >"$tree/entrypoint" <<'SH'
#!/bin/sh
[ "$1" = redis-server ] && set -- "$@" --protected-mode no
exec "$@"
SH
  chmod 755 "$tree/entrypoint"
  chown 999:999 "$tree/data"

  import_image "$tree" "$REDIS_IMAGE" 'ENV PATH=/usr/bin:/bin' 'USER 999:999' 'WORKDIR /data' 'EXPOSE 6379' \
    'ENTRYPOINT ["/entrypoint"]' 'CMD ["redis-server"]'
}

# add_program TREE FILE TARGET copies a program, and the libraries it is linked to,
# into a tree.
add_program() {
  local library
  install -D "$2" "$1$3"
  for library in $(ldd "$2" | grep -o '/[^ ]*'); do
    install -D "$library" "$1$library"
  done
}

# import_image TREE NAME INSTRUCTION... makes an image of one layer.
import_image() {
  local tree=$1 name=$2 instruction before changes=(--change "LABEL $label")
  shift 2
  before=$(docker image ls -q --no-trunc "$name")
  for instruction in "$@"; do
    changes+=(--change "$instruction")
  done
  tar -C "$tree" -c . | docker import "${changes[@]}" - "$name"
  rm -rf "$tree"
  [ -z "$before" ] || docker rmi "$before" >/dev/null 2>&1 || true # may be in use
}

# remove_images removes what this run made, containers that tests left behind, and
# the stages that the builder leaves without a name, which inherit the label.
remove_images() {
  docker ps -aq --filter "label=$label" | xargs -r docker rm -f -v
  docker image ls --filter "label=$label" --format '{{.Repository}}:{{.Tag}}' | grep -v '<none>' | xargs -r docker rmi
  docker image prune -f --filter "label=$label"
}
