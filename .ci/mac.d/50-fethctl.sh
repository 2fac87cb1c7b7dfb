# docs/FETHCTL.md from its first command to its last, from a root shell
. .ci/mac.d/lib.sh

as_root_shell
case " $(interfaces) " in
*" feth0 "* | *" feth101 "*) leave_out "feth0 or feth101 is another program's" ;;
esac
before=$(interfaces)
folder=$(mktemp -d)
trap 'fethctl destroy feth0 feth101 2>/dev/null || true; rm -rf "$folder"' EXIT
printf '#!/bin/sh\nexec "$@"\n' >"$folder/sudo"
printf '#!/bin/sh\nexec "%s" -m fethpipe.ctl "$@"\n' "$PYTHON" >"$folder/fethctl"
chmod 755 "$folder/sudo" "$folder/fethctl"
PATH=$folder:$PATH
try() {
    recipe docs/FETHCTL.md "$1" >"$REPORT/commands"
    printf '\n== %s\n' "$1"
    cat "$REPORT/commands"
    . "$REPORT/commands"
}

try pair
try status
fethctl status --json feth0
try responder
responder=$!
try ping
kill "$responder"
wait "$responder" || true
fethctl status feth0
try more
try end
[ "$(interfaces)" = "$before" ] || fail "interfaces are left: $(interfaces), and before: $before"
