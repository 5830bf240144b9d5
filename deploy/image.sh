#!/bin/sh
# Builds the image and runs it, without a Docker daemon and without pulling anything: the base is a stand-in that
# debootstrap makes and that carries the official image's name. It proves our files, not theirs.
#
#   sudo deploy/image.sh                     needs: buildah podman runc debootstrap; some minutes, 2 GB under build/image
#   PIP_CONF=/etc/pip.conf deploy/image.sh   packages from where that file says; it leaves no trace in the image
#
# Everything lies under build/image, and stays there; no process and no mount does. A whole fleet of it, after that:
# sudo .venv/bin/python -m tests.deploy.containers
set -eu
cd "$(dirname "$0")/.."
work=$PWD/build/image
base=$(sed -n 's/^ARG PYTHON=//p' deploy/Dockerfile)
image=localhost/blackroad-ticket-system:trial
store="--root $work/storage --runroot $work/run --storage-driver overlay"
mkdir -p "$work"

say() { printf '\n== %s\n' "$*"; }
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }
# Unquoted on purpose: it is three options.
# shellcheck disable=SC2086
pod() { podman $store --runtime "$(command -v runc)" --cgroup-manager cgroupfs "$@"; }

for tool in buildah podman runc debootstrap; do
    command -v "$tool" > /dev/null || fail "$tool is not installed"
done
[ "$(id -u)" = 0 ] || fail "it has to be root: debootstrap makes a root file system"

if ! pod image exists "$base"; then
    say "a stand-in for $base"
    [ -e "$work/base/usr/bin/pip3" ] || {
        rm -rf "$work/base"
        debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates bookworm "$work/base" > "$work/debootstrap.log"
    }
    # From a pipe: as a file it would be there twice.
    tar -C "$work/base" -c . | pod import --quiet - "$base" > /dev/null
fi

say "build"
set -- --file deploy/Dockerfile --tag "$image" --isolation chroot --pull-never --format docker
[ -z "${PIP_CONF:-}" ] || set -- "$@" --secret "id=pip,src=$PIP_CONF"
# The authorities that this machine trusts, for an index behind one of its own.
[ ! -e /etc/ssl/certs/ca-certificates.crt ] || set -- "$@" --volume /etc/ssl/certs/ca-certificates.crt:/etc/ssl/certs/ca-certificates.crt:ro
# shellcheck disable=SC2086
buildah $store bud "$@" .
pod image inspect --format 'size {{.Size}} bytes, user {{.Config.User}}, entrypoint {{.Config.Entrypoint}}' "$image"

# As Compose and Kubernetes run it: nothing writable but two folders in memory, no right of root's, no network here.
run() {
    pod run --rm --network none --read-only --cap-drop ALL --security-opt no-new-privileges --ulimit nofile=4096:4096 --ulimit nproc=4096:4096 --no-healthcheck \
        --tmpfs /tmp --tmpfs /var/lib/tickets:U "$@"
}
say "it says who it is"
run "$image" --version
say "it is nobody, and can write nowhere"
run --entrypoint python "$image" -c '
import os, pathlib
assert os.getuid() == os.getgid() == 10001, os.getuid()
for place in ("/opt/tickets/x", "/etc/x", "/x"):
    try: pathlib.Path(place).touch()
    except OSError: continue
    raise SystemExit(f"{place} was written")
import ticket_worker.app, stripe, apprise, css_inline, resvg_py, redbeat, opentelemetry.sdk
print("uid 10001, read-only, every extra imports")'
say "it has no pip"
run --entrypoint python "$image" -c 'import pip' 2> /dev/null && fail "pip is in the image"
say "it makes a database, and scans"
run --entrypoint tickets "$image" --help > /dev/null
run "$image" scan
say "it is well without a broker, and stops when asked to"
name=tickets-trial-$$
run --detach --name "$name" --env TICKETS_REDIS_URL=redis://127.0.0.1:1/0 "$image" worker > /dev/null
trap 'pod rm --force --time 0 "$name" > /dev/null 2>&1 || true' EXIT
# As the first process of a container it gets no signal that it does not listen to yet; so, when it works.
tries=0
until pod exec "$name" ticket-worker health live; do
    tries=$((tries + 1))
    [ "$tries" -lt 60 ] || fail "it does not start"
    sleep 1
done
started=$(date +%s)
pod stop --time 60 "$name" > /dev/null
took=$(($(date +%s) - started))
[ "$took" -lt 45 ] || fail "it took $took s to stop"
echo "stopped within $took s"
say "all is well"
