# the Homebrew formula: installed from this checkout, tested, removed
. .ci/mac.d/lib.sh
# limit: 600 seconds

need brew git
[ -n "${SUDO_USER-}" ] || leave_out "brew refuses to run as root, and nobody called sudo"
copy=$(copy_checkout)
clean_up() {
    as_user brew uninstall --force fethpipe || true
    as_user brew untap local/fethpipe || true
    rm -rf "$copy"
}
trap clean_up EXIT
# The formula takes what is committed.
as_user git -C "$copy" init -q -b main
as_user git -C "$copy" add -A
as_user git -C "$copy" -c user.name=mac -c user.email=mac@localhost commit -q -m "this checkout"
brew_here() {
    as_user env "HOMEBREW_FETHPIPE_CHECKOUT=$copy" HOMEBREW_NO_AUTO_UPDATE=1 brew "$@"
}
brew_here tap-new --no-git local/fethpipe
as_user cp packaging/homebrew/fethpipe.rb "$(brew_here --repository local/fethpipe)/Formula/"
brew_here install --HEAD --verbose local/fethpipe/fethpipe
brew_here test --verbose --HEAD local/fethpipe/fethpipe
prefix=$(brew_here --prefix)
cd /
"$prefix/bin/fethpipe" --version
for page in fethpipe fethctl fethpipe-zerotier-agent; do
    ls -l "$prefix/share/man/man1/$page.1"*
done
[ -s "$prefix/etc/bash_completion.d/fethpipe" ]
[ -s "$prefix/share/zsh/site-functions/_fethpipe" ]
[ -s "$prefix/share/fish/vendor_completions.d/fethpipe.fish" ]
