#!/bin/sh
# Runs protoc for build scripts: the binary that the crate protoc-bin-vendored ships in cargo's registry
# folder, or the system's. Why: k8s-cri's build script calls protoc, and a bare machine has none.
set -eu
case "$(uname -m)" in
x86_64) arch=linux-x86_64 ;;
aarch64 | arm64) arch=linux-aarch_64 ;;
ppc64le) arch=linux-ppcle_64 ;;
s390x) arch=linux-s390_64 ;;
*) arch=none ;;
esac
for protoc in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/protoc-bin-vendored-"$arch"-*/bin/protoc; do
    [ -f "$protoc" ] || continue
    include=$(dirname "$(dirname "$protoc")")/include
    [ -x "$protoc" ] || chmod +x "$protoc"
    exec "$protoc" -I "$include" "$@"
done
if system=$(command -v protoc); then exec "$system" "$@"; fi
echo "protoc.sh: no protoc for $(uname -m): run 'cargo fetch', or install protobuf-compiler" >&2
exit 1
