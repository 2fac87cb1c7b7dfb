# a daemon of launchd, from a folder below /opt that is root's own
. .ci/mac.d/lib.sh

need launchctl plutil
[ ! -e /opt/fethpipe-mac ] || leave_out "/opt/fethpipe-mac is there already"
as_root_shell
before=$(interfaces)
label=org.example.fethpipe-mac
plist=/Library/LaunchDaemons/$label.plist
trap 'launchctl bootout "system/$label" 2>/dev/null; rm -rf /opt/fethpipe-mac "$plist"' EXIT
mkdir -p /opt/fethpipe-mac
chmod 755 /opt/fethpipe-mac
"$PYTHON" tools/make_pyz.py /opt/fethpipe-mac/fethpipe
cat >"$plist" <<PLIST
<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
    <key>Label</key><string>$label</string>
    <key>ProgramArguments</key>
    <array>
        <string>$PYTHON</string><string>/opt/fethpipe-mac/fethpipe</string>
        <string>--unit</string><string>21104</string>
        <string>--</string><string>/bin/cat</string>
    </array>
    <key>RunAtLoad</key><true/>
    <key>ProcessType</key><string>Interactive</string>
    <key>StandardErrorPath</key><string>/opt/fethpipe-mac/log</string>
</dict>
</plist>
PLIST
chown root:wheel "$plist"
chmod 644 "$plist"
plutil -lint "$plist"
launchctl bootstrap system "$plist"
left=30
until interfaces | grep -qw feth21104; do
    left=$((left - 1))
    [ "$left" -gt 0 ] || { cat /opt/fethpipe-mac/log; fail "the daemon makes no interface"; }
    sleep 1
done
launchctl print "system/$label"
launchctl bootout "system/$label"
left=30
while interfaces | grep -qw feth21104; do
    left=$((left - 1))
    [ "$left" -gt 0 ] || fail "the interface of the daemon is left"
    sleep 1
done
cat /opt/fethpipe-mac/log
[ "$(interfaces)" = "$before" ] || fail "interfaces are left: $(interfaces), and before: $before"
