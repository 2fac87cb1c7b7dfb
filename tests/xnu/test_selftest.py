"""The facts of the self-test hold on Apple's code, but for those that take an IP stack."""

from __future__ import annotations

from collections.abc import Callable

from fethpipe.netif.darwin import DarwinInterfaces, allow_mtu
from fethpipe.provision.feth import provision_feth
from fethpipe.provision.request import DeviceRequest
from fethpipe.selftest.facts_bpf import check_bpf, check_traffic
from fethpipe.selftest.facts_feth import check_feth, check_gone
from fethpipe.selftest.facts_ndrv import check_ndrv
from fethpipe.selftest.frames import try_sizes
from fethpipe.selftest.pairs import FethPairs, OpenPair
from fethpipe.selftest.report import NotAvailableError, Number, Report
from fethpipe.selftest.writes import measure_writes
from tests.xnu.child import on_apples_code
from tests.xnu.inside import Mac

_MAC = bytes.fromhex("02005e005301")
# There is no IP stack, and no other interface.
_NOT_HERE = {"reception", "checksums", "injection", "peer unsupported"}


class Facts(Report):
    """What is found, for the test to look at."""

    def __init__(self) -> None:
        super().__init__(as_json=True)
        self.differs: dict[str, str] = {}
        self.missing: list[str] = []
        self.measured: dict[str, Number] = {}

    def check(self, name: str, expected: str, look: Callable[[], str]) -> bool:
        if name in _NOT_HERE:
            return False
        try:
            look()
        except NotAvailableError:
            self.missing.append(name)
        except Exception as error:  # noqa: BLE001 - the test shows it
            self.differs[name] = f"{expected}: {error!r}"
        return name not in self.differs

    def measure(self, name: str, value: Number, unit: str) -> None:
        print(name, value, unit)
        self.measured[name] = value


def _open(**options: object) -> OpenPair:
    return OpenPair(provision_feth(DeviceRequest(inject="ndrv", **options), lambda name: None))  # type: ignore[arg-type]


@on_apples_code
def test_the_facts_hold(mac: Mac) -> None:
    interfaces = DarwinInterfaces()
    early = _open()
    limit_before = interfaces.largest_mtu(early.primary)
    allow_mtu(16370)
    pairs = FethPairs(
        interfaces=interfaces,
        early=early,
        late=_open(mac=_MAC, mtu=16370),
        limit_before=limit_before,
        requested_mac=_MAC,
        absent="feth32767",
    )
    facts = Facts()
    check_feth(facts, pairs)
    check_ndrv(facts, pairs)
    check_bpf(facts, pairs)
    pairs.receives = pairs.injects = True
    check_traffic(facts, pairs)
    late = pairs.late
    assert try_sizes(facts, late.near, late.far, largest=16384, limit="", highest=16384)
    measure_writes(facts, pairs)
    batches = [] if pairs.release < (23, 1) else ["batch"] * 3
    assert [name.split()[0] for name in facts.measured] == ["write", "write", *batches]
    check_gone(facts, pairs)
    assert facts.differs == {}
    new = ["batch write", "batch refused"] if pairs.release < (23, 1) else []
    assert facts.missing == (["max_mtu kept"] if pairs.release < (19, 0) else []) + new
