# a tunnel of two feth pairs of this Mac, joined by pipes: ping, TCP with its content checked
. .ci/mac.d/lib.sh

as_root_shell
before=$(interfaces)
"$PYTHON" .ci/mac.d/tunnel.py
[ "$(interfaces)" = "$before" ] || fail "interfaces are left: $(interfaces), and before: $before"
