# pipx and uv from an empty home, as whoever called sudo
. .ci/mac.d/lib.sh
# limit: 300 seconds

! is_simulated || leave_out "a simulated Mac has nothing to install for"
command -v pipx >/dev/null 2>&1 || command -v uv >/dev/null 2>&1 ||
    leave_out "there is neither pipx nor uv here"
home=$(user_folder)
copy=$(copy_checkout)
trap 'rm -rf "$home" "$copy"' EXIT
for tool in pipx uv; do
    command -v "$tool" >/dev/null 2>&1 || continue
    command=$(recipe README.md "install, $tool")
    (cd "$copy" && as_user env "HOME=$home" $command)
    [ "$("$home/.local/bin/fethpipe" --version)" = "$("$PYTHON" -m fethpipe --version)" ]
    "$home/.local/bin/fethctl" list
    rm -rf "$home/.local"
done
