# 20 SIGKILLs at any moment, after which nothing may be left
. .ci/mac.d/lib.sh

as_root_shell
"$PYTHON" .ci/mac.d/kills.py
