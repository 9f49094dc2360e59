# Finds or makes what the scripts need: Bun, the packages, nats-server. Sourced by them; it only defines things and keeps
# every cache inside the checkout (.tools/, not in git), so that nothing else on the machine is written to. When something
# is missing it says so in one line and the script ends with 69.
#
#   use_packages          node_modules as the lockfile says (skipped when it already is), $BUN the pinned Bun
#   use_nats_server       $NATS_SERVER, a program of this machine
#   use_schemathesis      $SCHEMATHESIS, a fuzzer of HTTP interfaces, where Python is; else empty, and its test is skipped
#   nats_server_for OS ARCH   prints the path of one for that machine

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
TOOLS=$ROOT/.tools
NATS_VERSION=2.15.2
NATS_OLDEST=2.14.5
SCHEMATHESIS_VERSION=4.32.5

# Settings of the user (a proxy, a mirror) still count, wherever HOME stood; what the tools write goes into .tools/.
if [ -n "${HOME:-}" ] && [ "$HOME" != "$TOOLS/home" ]; then
  if [ -z "${npm_config_userconfig:-}" ] && [ -f "$HOME/.npmrc" ]; then export npm_config_userconfig="$HOME/.npmrc"; fi
  if [ -z "${GOENV:-}" ] && [ -f "${XDG_CONFIG_HOME:-$HOME/.config}/go/env" ]; then
    export GOENV="${XDG_CONFIG_HOME:-$HOME/.config}/go/env"
  fi
fi
mkdir -p "$TOOLS/home"
export HOME="$TOOLS/home"
unset XDG_CONFIG_HOME XDG_CACHE_HOME XDG_DATA_HOME XDG_STATE_HOME
export npm_config_cache="$TOOLS/npm" npm_config_update_notifier=false npm_config_loglevel=error
export BUN_INSTALL_CACHE_DIR="$TOOLS/bun" BUN_RUNTIME_TRANSPILER_CACHE_PATH="$TOOLS/transpiler"
export PIP_CACHE_DIR="$TOOLS/pip"
export GOPATH="$TOOLS/go" GOMODCACHE="$TOOLS/go/pkg/mod" GOCACHE="$TOOLS/go-build" GOFLAGS="-modcacherw -buildvcs=false"
export DO_NOT_TRACK=1

say() { printf '%s\n' "$*" >&2; }

# What is missing, in one line, and nothing after it.
missing() {
  say "$(basename "$0"): $*"
  exit 69
}

have() { command -v "$1" >/dev/null 2>&1; }

wrong_usage() {
  say "$(basename "$0"): $*"
  exit 64
}

# Two scripts at once must not build the same thing over each other. macOS has no flock; there the last rename wins.
lock_tools() {
  if have flock; then
    exec 9>"$TOOLS/lock"
    flock 9
  fi
}

unlock_tools() {
  if have flock; then exec 9>&-; fi
}

sha256_of() {
  if have sha256sum; then sha256sum "$@"; else shasum -a 256 "$@"; fi | cut -d' ' -f1
}

pinned_bun_version() { sed -n 's/^ *"bun": "\([0-9.]*\)",*$/\1/p' "$ROOT/package.json"; }

# Bun's package puts its program in place with an install script, which some package clients do not run; then it is
# called where its platform's package keeps it.
find_pinned_bun() {
  local version candidate
  version=$(pinned_bun_version)
  for candidate in "$ROOT/node_modules/.bin/bun" "$ROOT"/node_modules/@oven/bun-*/bin/bun; do
    if [ -x "$candidate" ] && [ "$("$candidate" --version 2>/dev/null)" = "$version" ]; then
      BUN=$candidate
      return 0
    fi
  done
  return 1
}

install_packages() {
  say "installing packages (about 300 MB, once)"
  if have npm; then
    (cd "$ROOT" && npm ci >&2) || missing "npm ci failed (see above): is the network there?"
  elif have bun; then
    (cd "$ROOT" && bun install --no-save >&2) || missing "bun install failed (see above): is the network there?"
  else
    missing "neither npm nor bun is on the PATH: install Node.js (with npm) or Bun"
  fi
}

use_packages() {
  local stamp=$ROOT/node_modules/.claw-lockfile lockfile
  lock_tools
  lockfile=$(sha256_of "$ROOT/package-lock.json")
  if [ "$(cat "$stamp" 2>/dev/null)" != "$lockfile" ] || ! find_pinned_bun; then
    install_packages
    find_pinned_bun || missing "Bun $(pinned_bun_version) did not come with the packages (node_modules/.bin/bun)"
    printf '%s\n' "$lockfile" >"$stamp"
  fi
  unlock_tools
  export BUN
}

use_schemathesis() {
  local folder=$TOOLS/schemathesis-$SCHEMATHESIS_VERSION
  export SCHEMATHESIS=
  have python3 || return 0
  lock_tools
  if [ ! -x "$folder/bin/schemathesis" ]; then
    say "installing schemathesis $SCHEMATHESIS_VERSION (about 90 MB, once)"
    rm -rf "$folder"
    if ! { python3 -m venv "$folder" && "$folder/bin/pip" install -q "schemathesis==$SCHEMATHESIS_VERSION"; } >&2; then
      rm -rf "$folder"
      say "schemathesis could not be installed (see above): its test is skipped"
    fi
  fi
  unlock_tools
  if [ -x "$folder/bin/schemathesis" ]; then SCHEMATHESIS=$folder/bin/schemathesis; fi
}

machine_os() { uname -s | tr '[:upper:]' '[:lower:]'; }

machine_arch() {
  case $(uname -m) in
    x86_64 | amd64) echo amd64 ;;
    aarch64 | arm64) echo arm64 ;;
    *) uname -m ;;
  esac
}

# "nats-server: v2.15.2" -> 2.15.2
version_of_nats_server() { "$1" --version 2>/dev/null | sed -n 's/^nats-server: v\([0-9][0-9.]*\).*$/\1/p'; }

at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -t. -k1,1n -k2,2n -k3,3n | head -n 1)" = "$2" ]; }

# The pinned module, held to the checksums of scripts/nats-server/go.sum. Static, so it runs on any Linux.
build_nats_server() {
  local os=$1 arch=$2 to=$3
  have go || return 1
  say "building nats-server $NATS_VERSION for $os $arch (once)"
  (cd "$ROOT/scripts/nats-server" &&
    CGO_ENABLED=0 GOOS=$os GOARCH=$arch go build -mod=readonly -trimpath -ldflags "-s -w" -o "$to" \
      github.com/nats-io/nats-server/v2 >&2)
}

# The project's own release, checked against the list of checksums of the same release: that finds a damaged download,
# not a forged release. The module above, with its checksums in git, is the better way and is tried first.
download_nats_server() {
  local os=$1 arch=$2 to=$3 name folder base expected
  have curl || return 1
  name=nats-server-v$NATS_VERSION-$os-$arch
  base=https://github.com/nats-io/nats-server/releases/download/v$NATS_VERSION
  folder=$to.download
  mkdir -p "$folder"
  say "downloading nats-server $NATS_VERSION for $os $arch (once)"
  curl -fsSL --retry 2 --max-time 300 -o "$folder/SHA256SUMS" "$base/SHA256SUMS" &&
    curl -fsSL --retry 2 --max-time 300 -o "$folder/$name.tar.gz" "$base/$name.tar.gz" || { rm -rf "$folder"; return 1; }
  expected=$(awk -v name="$name.tar.gz" '$2 == name || $2 == "*" name { print $1 }' "$folder/SHA256SUMS")
  if [ -z "$expected" ] || [ "$(sha256_of "$folder/$name.tar.gz")" != "$expected" ]; then
    rm -rf "$folder"
    missing "the downloaded $name.tar.gz does not have the release's checksum"
  fi
  tar -xzf "$folder/$name.tar.gz" -C "$folder" && mv "$folder/$name/nats-server" "$to"
  local status=$?
  rm -rf "$folder"
  return $status
}

nats_server_for() {
  local os=$1 arch=$2 path found new
  path=$TOOLS/nats-server-$NATS_VERSION-$os-$arch
  if [ -x "$path" ]; then
    echo "$path"
    return 0
  fi
  new=$path.$$
  if build_nats_server "$os" "$arch" "$new"; then
    mv "$new" "$path"
    echo "$path"
    return 0
  fi
  if [ "$os/$arch" = "$(machine_os)/$(machine_arch)" ] && have nats-server; then
    found=$(command -v nats-server)
    if at_least "$(version_of_nats_server "$found")" "$NATS_OLDEST"; then
      echo "$found"
      return 0
    fi
  fi
  if download_nats_server "$os" "$arch" "$new"; then
    mv "$new" "$path"
    echo "$path"
    return 0
  fi
  missing "no nats-server: install Go or nats-server $NATS_OLDEST or newer, or let this machine reach the network"
}

use_nats_server() {
  lock_tools
  NATS_SERVER=$(nats_server_for "$(machine_os)" "$(machine_arch)") || exit $?
  unlock_tools
  export NATS_SERVER
}
