# Installs a checkout: Homebrew wants a formula in a tap, and lets only HOMEBREW_ variables through.
#
#     brew tap-new --no-git local/fethpipe
#     cp packaging/homebrew/fethpipe.rb "$(brew --repository local/fethpipe)/Formula/"
#     HOMEBREW_FETHPIPE_CHECKOUT=$PWD brew install --HEAD local/fethpipe/fethpipe
class Fethpipe < Formula
  include Language::Python::Virtualenv

  desc "Shuttle Ethernet frames between a virtual Ethernet device and a pipe"
  homepage "file://#{ENV.fetch("HOMEBREW_FETHPIPE_CHECKOUT", "/fethpipe")}/README.md"
  license "ISC"
  head "file://#{ENV.fetch("HOMEBREW_FETHPIPE_CHECKOUT", "/fethpipe")}", using: :git, branch: "main"

  depends_on "python@3.14"

  # A virtual environment of its own: its scripts look for modules there and nowhere else, whereas
  # "python -m" looks into the current folder first, and under sudo runs as root what it finds.
  def install
    virtualenv_create(libexec, "python3.14").pip_install_and_link buildpath
    man1.install Dir["docs/man/*.1"]
    bash_completion.install Dir["completions/bash/*"]
    zsh_completion.install Dir["completions/zsh/*"]
    fish_completion.install Dir["completions/fish/*"]
  end

  test do
    assert_match(/\Afethpipe \d+\.\d+\.\d+\n\z/, shell_output("#{bin}/fethpipe --version"))

    # A file of the current folder is not run.
    (testpath/"argparse.py").write "raise SystemExit('a file of the current folder was run')"
    system bin/"fethctl", "--version"

    # A frame goes through the codec of the stream.
    (testpath/"codec.py").write <<~PYTHON
      from fethpipe import FRAMINGS, RecordDecoder

      framing = FRAMINGS["u16be"]
      frame = bytes.fromhex("ffffffffffff 02005e005301 88b5") + b"a frame"
      decoder = RecordDecoder(framing)
      stream = framing.encode([frame])
      assert decoder.feed(stream[:5]) == []
      assert decoder.feed(stream[5:]) == [frame]
      decoder.feed_eof()
    PYTHON
    system libexec/"bin/python", "-I", "codec.py"
  end
end
