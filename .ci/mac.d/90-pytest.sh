# the tests, as whoever called sudo
. .ci/mac.d/lib.sh
# limit: 900 seconds

! is_simulated || leave_out "a simulated Mac has nothing to install for"
copy=$(copy_checkout)
trap 'rm -rf "$copy"' EXIT
cd "$copy"
as_user "$PYTHON" -m venv .venv
as_user .venv/bin/pip install --quiet '.[test]'
as_user .venv/bin/pytest -q -p no:cacheprovider
