# what sudo of macOS does: --ready-fd through sudo, PATH, groups
. .ci/mac.d/lib.sh

need sudo
[ -n "${SUDO_USER-}" ] || leave_out "nobody called sudo"
before=$(interfaces)
folder=$(user_folder)
trap 'rm -rf "$folder"' EXIT
echo "PATH through sudo: $(sudo sh -c 'printf %s "$PATH"')"
echo "groups of nobody: $("$PYTHON" -c '
import os, pwd
nobody = pwd.getpwnam("nobody")
for group in (nobody.pw_gid, nobody.pw_gid - (1 << 32)):
    try:
        print(nobody.pw_uid, group, os.getgrouplist("nobody", group))
    except OverflowError as error:
        print(nobody.pw_uid, group, error)')"
status=0
sudo "$PYTHON" -m fethpipe --unit 21107 --ready-fd 3 -- cat 3>"$folder/ready" 2>"$folder/said" || status=$?
cat "$folder/said"
[ "$status" = 64 ] || fail "sudo closes descriptor 3, and fethpipe ended with $status in place of 64"
grep -q 'sudo' "$folder/said" || fail "the message does not say that sudo closes it"
[ "$(interfaces)" = "$before" ] || fail "interfaces are left: $(interfaces), and before: $before"
