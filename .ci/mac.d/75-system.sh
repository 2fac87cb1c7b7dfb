# what macOS does with a feth: a route, a bridge, DHCP, link-local addresses, the manual pages
. .ci/mac.d/lib.sh

need route ifconfig ipconfig scutil man
as_root_shell
case " $(interfaces) " in
*" bridge700 "*) leave_out "bridge700 is another program's" ;;
esac
before=$(interfaces)
folder=$(mktemp -d)
mkfifo "$folder/hold" "$folder/ready"
"$PYTHON" -m fethpipe --unit 21103 --address 10.213.0.1/24 --ready-fd 3 \
    <"$folder/hold" 3>"$folder/ready" >/dev/null &
tunnel=$!
exec 4>"$folder/hold"
read -r facts <"$folder/ready"
echo "$facts"
trap 'ifconfig bridge700 destroy 2>/dev/null; exec 4>&-; wait "$tunnel"; rm -rf "$folder"' EXIT
show() { # a command that has to work
    printf '\n$ %s\n' "$*"
    "$@" 2>&1
}
look() { # one that may not: what it says is what we want to know
    printf '\n$ %s\n' "$*"
    "$@" 2>&1 || printf '(status %s)\n' "$?"
}

show ifconfig feth21103
echo "feth has an automatic link-local address: $(ifconfig feth21103 | grep -c 'inet6 fe80' || true)"

# ZeroTier's users report that macOS 27 refuses these routes: "Invalid argument".
show route -n add -net 10.213.99.0/24 10.213.0.2
look route -n get 10.213.99.1
route -n get 10.213.99.1 | grep -q 'interface: feth21103' || fail "the route does not lead to the feth"
show route -n delete -net 10.213.99.0/24 10.213.0.2
show route -n add -net 10.213.98.0/24 -interface feth21103
show route -n delete -net 10.213.98.0/24

show ifconfig bridge700 create
show ifconfig bridge700 addm feth21103 up
show ifconfig bridge700
# configd destroys bridges that it does not know when the network changes; this one has to stay.
look scutil --nwi
show ifconfig bridge700
show ifconfig bridge700 deletem feth21103
show ifconfig bridge700 destroy

look ipconfig set feth21103 DHCP
look ipconfig getsummary feth21103
look ipconfig set feth21103 NONE
look ipconfig set feth21103 AUTOMATIC-V6
show ifconfig feth21103
look ipconfig set feth21103 NONE-V6

for page in docs/man/*.1; do
    man "$PWD/$page" | head -n 3
done
trap - EXIT
exec 4>&-
wait "$tunnel" || fail "fethpipe ended with $?"
rm -rf "$folder"
[ "$(interfaces)" = "$before" ] || fail "interfaces are left: $(interfaces), and before: $before"
