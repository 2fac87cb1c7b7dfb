# the tests, as whoever called sudo
. .ci/mac.d/lib.sh
# limit: 900 seconds

! is_simulated || leave_out "a simulated Mac has nothing to install for"
copy=$(copy_checkout)
trap 'rm -rf "$copy"' EXIT
cd "$copy"
as_user env "PATH=$(dirname "$PYTHON"):$PATH" sh -euxc "$(recipe README.md tests)"
