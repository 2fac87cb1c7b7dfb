# Installs a checkout: Homebrew wants a formula in a tap, and lets only HOMEBREW_ variables through.
#
#     brew tap-new --no-git local/fethpipe
#     cp packaging/homebrew/fethpipe.rb "$(brew --repository local/fethpipe)/Formula/"
#     HOMEBREW_FETHPIPE_CHECKOUT=$PWD brew install --HEAD local/fethpipe/fethpipe
class Fethpipe < Formula
  desc "Shuttle Ethernet frames between a virtual Ethernet device and a pipe"
  homepage "file://#{ENV.fetch("HOMEBREW_FETHPIPE_CHECKOUT", "/fethpipe")}/README.md"
  license "ISC"
  head "file://#{ENV.fetch("HOMEBREW_FETHPIPE_CHECKOUT", "/fethpipe")}", using: :git

  depends_on "python@3.13"

  # There is nothing to build and nothing to depend on: the package, and a word for each program.
  def install
    libexec.install "fethpipe"
    python = Formula["python@3.13"].opt_bin/"python3.13"
    {
      "fethpipe"                => "fethpipe",
      "fethctl"                 => "fethpipe.ctl",
      "fethpipe-zerotier-agent" => "fethpipe.zerotier_agent",
    }.each do |program, package|
      (bin/program).write_env_script python, "-m #{package}", PYTHONPATH: libexec
    end
  end

  test do
    assert_match(/\Afethpipe \d+\.\d+\.\d+\n\z/, shell_output("#{bin}/fethpipe --version"))
  end
end
