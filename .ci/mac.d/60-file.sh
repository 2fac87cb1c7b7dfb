# the one file: made, then run from another folder
. .ci/mac.d/lib.sh

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
command=$(recipe README.md "install, one file")
copy=$(copy_checkout)
(cd "$copy" && PATH="$(dirname "$PYTHON"):$PATH" && $command && mv fethpipe.pyz "$folder")
rm -rf "$copy"
cd "$folder"
# A file of this folder must not be run as root.
echo 'raise SystemExit("a file of the current folder was run")' >argparse.py
"$PYTHON" fethpipe.pyz --version
"$PYTHON" fethpipe.pyz --selftest
