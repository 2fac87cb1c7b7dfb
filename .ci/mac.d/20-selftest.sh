# the self-test, as root, with each Python of this Mac
. .ci/mac.d/lib.sh

before=$(interfaces)
worked=yes
for python in "$PYTHON" /usr/bin/python3; do
    if [ "$python" = /usr/bin/python3 ] && ! has_developer_tools; then
        echo "/usr/bin/python3 is a stub here: no developer tools"
        continue
    fi
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') || continue
    file=$OUTPUT/selftest-$version.json
    [ ! -e "$file" ] || continue # the same one by another name
    "$python" -m fethpipe --selftest --json >"$file" || worked=no
    "$PYTHON" - "$file" <<'SCRIPT' || worked=no
import json, sys
told = json.load(open(sys.argv[1]))
print(told["machine"])
for fact in told["facts"]:
    if fact["outcome"] != "ok":
        print(fact["outcome"] + ": " + fact["name"] + ": " + fact["seen"])
for line in [*told["steps"], told["error"] or "it works"]:
    print(line)
SCRIPT
done
[ "$(interfaces)" = "$before" ] || fail "interfaces are left: $(interfaces), and before: $before"
[ "$worked" = yes ] || fail "the self-test does not pass"
