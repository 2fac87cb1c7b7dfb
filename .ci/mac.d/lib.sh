# What the steps share; for /bin/sh.
set -eu

fail() { # MESSAGE [STATUS]
    printf '.ci/mac: %s\n' "$1" >&2
    exit "${2:-1}"
}

# Leave the step out, and say why.
leave_out() {
    printf '%s\n' "$1"
    exit 77
}

need() { # PROGRAM...
    for program in "$@"; do
        command -v "$program" >/dev/null 2>&1 || leave_out "there is no $program here"
    done
}

# Run a command as whoever called sudo: pip, pytest and brew are not for root.
as_user() {
    if [ -n "${SUDO_USER-}" ]; then
        sudo -H -u "$SUDO_USER" env "PATH=$PATH" "$@"
    else
        "$@"
    fi
}

# Make a folder that whoever called sudo may write to, and print its path. It is not in mktemp's usual
# place, because nobody else may enter root's folder for temporary files.
user_folder() {
    folder=$(mktemp -d /tmp/fethpipe-mac.XXXXXX)
    [ -z "${SUDO_UID-}" ] || chown "$SUDO_UID:$SUDO_GID" "$folder"
    printf '%s\n' "$folder"
}

# Without developer tools, /usr/bin/python3 is a stub that opens a dialog: do not start it.
has_developer_tools() {
    xcode-select -p >/dev/null 2>&1
}

find_python() {
    for candidate in "$(command -v python3 || true)" /opt/homebrew/bin/python3 /usr/local/bin/python3 \
        /opt/local/bin/python3 /Library/Frameworks/Python.framework/Versions/Current/bin/python3 \
        /usr/bin/python3; do
        [ -x "$candidate" ] || continue
        [ "$candidate" != /usr/bin/python3 ] || has_developer_tools || continue
        "$candidate" -I -c 'import sys; sys.exit(sys.version_info < (3, 9))' </dev/null 2>/dev/null ||
            continue
        printf '%s\n' "$candidate"
        return
    done
    return 1
}

# Print the commands of a block in a document: a comment in front of it names it.
recipe() { # DOCUMENT NAME
    awk -v marker="<!-- recipe: $2 -->" '
        $0 == marker { found = 1; next }
        found && /^```/ { if (inside) exit; inside = 1; next }
        inside' "$1" >"$REPORT/recipe"
    [ -s "$REPORT/recipe" ] || fail "$1 has no recipe: $2"
    cat "$REPORT/recipe"
}

# Print the names of all interfaces of the kinds that the steps make, in one line.
interfaces() {
    "$PYTHON" -c '
import socket
kinds = ("feth", "bridge", "vmenet")
print(*sorted(name for _, name in socket.if_nameindex() if name.startswith(kinds)))'
}

# Forget who called sudo, so that programs run as they do from a root shell.
as_root_shell() {
    unset SUDO_UID SUDO_GID SUDO_USER SUDO_COMMAND
}

# Copy the checkout to a folder of whoever called sudo, since building leaves files, and print its path.
copy_checkout() {
    copy=$(user_folder)
    tar -cf - --exclude .git --exclude .venv --exclude __pycache__ --exclude build --exclude '*.egg-info' . |
        tar -xf - -C "$copy"
    [ -z "${SUDO_UID-}" ] || chown -R "$SUDO_UID:$SUDO_GID" "$copy"
    printf '%s\n' "$copy"
}

# The tests run these scripts on a simulated Mac, where pip and venv find no macOS to install for.
is_simulated() {
    [ "$(uname)" = Darwin ] && [ ! -d /System/Library ]
}
