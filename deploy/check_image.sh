#!/usr/bin/env bash
# Builds the image `service` and proves it: built, looked into, run by hand and by the manifest, asked, stopped.
#
#   deploy/check_image.sh                    on the real base image, which the builder pulls
#   deploy/check_image.sh --stand-in         on a base made from Debian's packages, where no registry can be reached
#   PYTHON_IMAGE=... deploy/check_image.sh   on that base
#
# Needs root, podman, buildah and slirp4netns (for the stand-in also mmdebstrap) and the development environment of
# `make setup`, whose client asks the server. Needs no daemon and no systemd. Leaves the image localhost/convoy behind.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly PYTHON=.venv/bin/python CONVOY=.venv/bin/convoy
readonly STAND_IN=localhost/convoy-stand-in:bookworm
readonly NAME="convoy-check-$$"
readonly CONFINED=(--read-only --cap-drop all --security-opt no-new-privileges --memory 512m --network none)

WORK=$(mktemp -d)
readonly WORK MODELS="$WORK/models" MANIFEST="$WORK/deployment.yaml"

say() { printf '== %s\n' "$*"; }
fail() { printf 'deploy/check_image.sh: %s\n' "$*" >&2; exit 1; }

# Podman complains at each start that there is no systemd to run the health check by the clock; here it runs by hand.
quiet() { podman --log-level fatal "$@"; }

clean_up() {
    quiet rm --force --ignore "$NAME" > /dev/null 2>&1 || true
    [ ! -f "$MANIFEST" ] || quiet play kube --down "$MANIFEST" > /dev/null 2>&1 || true
    quiet volume rm --force "$NAME" > /dev/null 2>&1 || true
    rm -rf "$WORK"
}

check_tools() {
    for program in "$@"; do
        command -v "$program" > /dev/null || fail "$program is not installed"
    done
    [ -x "$CONVOY" ] || fail "$CONVOY is not there; run 'make setup' first"
    [ "$(id -u)" = 0 ] || fail "needs root, because it builds without a daemon"
}

# Podman raises a container's limits to its own highest, which a root that is itself in a container may not do.
lower_limits() {
    printf '[containers]\ndefault_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]\n' > "$WORK/containers.conf"
    export CONTAINERS_CONF="$WORK/containers.conf"
}

# Debian 12 with its Python 3.11 and this machine's certificates, so that pip works behind its proxy.
make_stand_in() {
    podman image exists "$STAND_IN" && return
    say "making $STAND_IN"
    mmdebstrap --quiet --variant=minbase --include=ca-certificates,python3,python3-venv \
        --customize-hook='copy-in /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs' bookworm "$WORK/base.tar"
    podman import --quiet --change 'ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt' "$WORK/base.tar" "$STAND_IN"
}

build() {
    say "building $IMAGE on ${PYTHON_IMAGE:-the base of the Dockerfile}"
    buildah build --isolation chroot --format docker --target service --tag "$IMAGE" \
        ${PYTHON_IMAGE:+--build-arg "PYTHON_IMAGE=$PYTHON_IMAGE"} . > "$WORK/build.log" 2>&1 ||
        { tail -n 40 "$WORK/build.log"; fail "the build failed"; }
    podman image inspect --format '{{.Size}}' "$IMAGE" | awk '{printf "size with its base: %.0f MB\n", $1 / 1e6}'
}

# Runs one program of the image.
inside() { quiet run --rm "${CONFINED[@]}" --entrypoint "$1" "$IMAGE" "${@:2}"; }

check_contents() {
    say "looking into it"
    [ "$(inside convoy --version)" = "convoy $VERSION" ] || fail "the image holds another version than $VERSION"
    [ "$(inside id -u)" = 65532 ] || fail "the image does not run as user 65532"
    [ -z "$(inside find /opt/convoy -perm /022 ! -type l)" ] || fail "others than root may write to /opt/convoy"
    for tool in "python3 -m pip" "python -m pip" gcc cc; do
        # shellcheck disable=SC2086  # a program and its arguments
        if inside $tool --version > /dev/null 2>&1; then fail "the image holds '$tool'"; fi
    done
}

publish_model() {
    "$PYTHON" -c '
import pathlib, sys
sys.path.insert(0, "tests")
from bundles import make_bundle
make_bundle(pathlib.Path(sys.argv[1]))' "$MODELS"
    chmod -R a+rX "$WORK"
}

# Without a network: the health check runs in the container. Each try takes its own time, so none waits between them.
check_health() {
    say "running it by hand"
    quiet run --detach --name "$NAME" "${CONFINED[@]}" --volume "$MODELS:/models:ro" "$IMAGE" > /dev/null
    wait_until "$NAME" podman healthcheck run "$NAME"
    quiet rm --force "$NAME" > /dev/null
}

# The Deployment as it stands, but for one replica, free ports and names of its own. Podman knows no gRPC probes.
start_by_manifest() {
    say "running it by the manifest, on ports $PORT and $METRICS_PORT"
    podman volume create "$NAME" > /dev/null
    tar -C "$MODELS" -c . | podman volume import "$NAME" -
    sed -e "s/^  name: convoy$/  name: $NAME/; s/claimName: .*/claimName: $NAME/; s/replicas: .*/replicas: 1/" \
        -e "s/8500/$PORT/; s/8002/$METRICS_PORT/" deploy/base/deployment.yaml > "$MANIFEST"
    quiet play kube --network slirp4netns "$MANIFEST" > /dev/null
    wait_until "$SERVER" "$CONVOY" health --server "localhost:$PORT"
}

# The container's name, and the command that succeeds once it serves.
wait_until() {
    for _ in $(seq 60); do
        "${@:2}" > /dev/null 2>&1 && return
        [ "$(podman inspect --format '{{.State.Status}}' "$1")" = running ] || break
    done
    podman logs "$1"
    fail "the server is not SERVING"
}

ask() {
    say "asking it"
    "$CONVOY" classify "$MODELS/tiny/1/golden/00.png" --server "localhost:$PORT" --model tiny
    "$PYTHON" -c '
import sys, urllib.request
for path in ("livez", "readyz", "metrics"):
    assert urllib.request.urlopen(f"http://localhost:{sys.argv[1]}/{path}").status == 200' "$METRICS_PORT"
}

# SIGTERM must reach the server as process 1 and end in its own exit; the kill after the grace time would be code 137.
stop() {
    say "stopping it"
    podman stop --time 50 "$SERVER" > /dev/null
    podman logs "$SERVER" > "$WORK/server.log" 2>&1
    tail -n 3 "$WORK/server.log"
    local code
    code=$(podman inspect --format '{{.State.ExitCode}}' "$SERVER")
    [ "$code" = 0 ] || fail "SIGTERM ended the server with exit code $code"
    grep -q '"event": "draining"' "$WORK/server.log" || fail "SIGTERM ended the server without a drain"
}

trap clean_up EXIT
check_tools podman buildah slirp4netns
lower_limits
if [ "${1:-}" = --stand-in ]; then
    check_tools mmdebstrap
    make_stand_in
    PYTHON_IMAGE=$STAND_IN
fi
VERSION=$("$PYTHON" -c 'import tomllib; print(tomllib.load(open("pyproject.toml", "rb"))["project"]["version"])')
read -r PORT METRICS_PORT < <("$PYTHON" -c '
import socket
sockets = [socket.create_server(("localhost", 0)) for _ in range(2)]
print(*(each.getsockname()[1] for each in sockets))')
readonly VERSION PORT METRICS_PORT IMAGE="localhost/convoy:$VERSION" SERVER="$NAME-pod-0-server"

build
check_contents
publish_model
check_health
start_by_manifest
ask
stop
say "$IMAGE works"
