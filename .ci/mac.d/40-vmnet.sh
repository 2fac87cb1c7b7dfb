# --device vmnet in shared and host mode, up to the line of --ready-fd
. .ci/mac.d/lib.sh

as_root_shell
before=$(interfaces)
"$PYTHON" .ci/mac.d/vmnet.py
[ "$(interfaces)" = "$before" ] || fail "interfaces are left: $(interfaces), and before: $before"
