# what this Mac is: versions, Pythons, tools, interfaces
. .ci/mac.d/lib.sh

show() {
    printf '\n$ %s\n' "$*"
    "$@" 2>&1 || printf '(status %s)\n' "$?"
}

show uname -a
for name in kern.osproductversion kern.osversion hw.model net.link.fake.max_mtu net.link.fake.hwcsum \
    net.link.fake.tso_support net.link.fake.lro debug.bpf_maxbufsize kern.ipc.maxsockbuf; do
    show sysctl "$name"
done
show xcode-select -p
for python in python3 /opt/homebrew/bin/python3 /usr/local/bin/python3 /opt/local/bin/python3; do
    ! command -v "$python" >/dev/null 2>&1 || [ "$(command -v "$python")" = /usr/bin/python3 ] ||
        show "$python" -V
done
! has_developer_tools || show /usr/bin/python3 -V
for tool in brew port pipx uv socat nc qemu-system-aarch64 qemu-system-x86_64 vde_plug; do
    printf '%s: %s\n' "$tool" "$(command -v "$tool" || echo none)"
done
show csrutil status
show sudo -n -l
show ls -ld /usr/local /usr/local/bin /opt /opt/homebrew
show ifconfig -a
printf '\nThe Python that runs the steps: %s\n' "$PYTHON"
"$PYTHON" -c 'import sys; print(sys.version)'
