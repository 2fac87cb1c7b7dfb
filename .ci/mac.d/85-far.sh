# this Mac as the far end of --ssh, with the PATH that sshd of macOS gives
. .ci/mac.d/lib.sh

as_root_shell
before=$(interfaces)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# In place of ssh: the last word is the command, and the login shell gets it.
cat >"$folder/ssh" <<'SCRIPT'
#!/bin/sh
for command in "$@"; do :; done
shell=/bin/zsh
[ -x "$shell" ] || shell=/bin/sh
exec env "PATH=/usr/bin:/bin:/usr/sbin:/sbin" "$shell" -c "$command"
SCRIPT
chmod 755 "$folder/ssh"
"$PYTHON" .ci/mac.d/far.py "$folder/ssh"
[ "$(interfaces)" = "$before" ] || fail "interfaces are left: $(interfaces), and before: $before"
