"""Everything that the product asks of a kernel, or could wrongly ask, once: lists of steps."""

from __future__ import annotations

from itertools import product
from typing import Any

from tests.darwin.rig import IO, PRIMARY
from tests.xnu.play import Step, frame

OTHER, ABSENT = "feth30000", "feth777"
LONGEST = 16384
_WORDS = {"P": PRIMARY, "IO": IO, "OTHER": OTHER, "ABSENT": ABSENT, '""': "", "None": None}


def steps(text: str) -> list[Step]:
    """Return the steps that a text names: a verb and its arguments, then ``;``. ``a/b`` in a step
    is one step with ``a`` and one with ``b``; ``both`` is `both_ways`.
    """
    found: list[Step] = []
    for each in text.split(";"):
        for words in product(*(word.split("/") for word in each.split())):
            verb, *arguments = map(_value, words)
            found += both_ways(*arguments) if verb == "both" else [(verb, *arguments)]
    return found


def _value(word: str) -> Any:
    return int(word) if word.lstrip("-").isdigit() else _WORDS.get(word, word)


def both_ways(size: int) -> list[Step]:
    """One frame through AF_NDRV, one through BPF, and what has come."""
    return [("write", "ndrv", size), ("write", "bpf", size), ("read", "r")]


PAIR = steps("create P/IO; join P IO; up IO/P")
LARGE_PAIR = [*steps("set_max_mtu 16370"), *PAIR, *steps("set_mtu P/IO 16370")]
ENDS = steps("reader r 1 P; reader bpf 2 IO; writer ndrv IO")
TAGGED = frame(12) + b"\x81\x00\x00\x05" + frame(60)[12:]

# Records, as `play.batch` takes them, and how much is too much or too little at the end.
BATCHES: list[tuple[Any, ...]] = [
    ([(60,)],),
    ([(60,), (61,), (62,)],),
    ([(14,)] * 3,),
    ([(62,)] * 200,),
    ([(61,), (61,)], -3),
    *[([(size,)],) for size in (1514, 1518, 1519)],
    ([(60,), (1519,)],),
    *[([(60, 18, length)],) for length in (59, 61)],
    ([(60,), (60, 18, 61)],),
    *[([(60, header)],) for header in (0, 17, 19, 20, 40, 65535)],
    *[([(60,)], rest) for rest in (-63, -62, -61, -1, 1, 2, 3, 4, 17, 18, 19)],
    ([], 14),
    ([],),
]

SCENARIO: dict[str, list[Step]] = {
    "create and destroy": steps(
        "create P/P/feth/feth/feth32767/feth32768/fethx; create feth-1/xyz0/FETH0/feth12x;"
        'create ""; destroy P/P/feth0/feth1/ABSENT/nosuch/""; create P'
    ),
    "a new feth": steps(
        "create P; flags/mtu/device_mtu/active/peer/mac P;"
        "flags/mtu/device_mtu/active/peer/up ABSENT; metric P/ABSENT 5"
    ),
    "peers": steps(
        'create P/IO/OTHER; join P ABSENT/""/IO/IO/OTHER; join IO/OTHER P;'
        "peer P/IO/OTHER/ABSENT; active P/IO/OTHER;"
        'join ABSENT P; join IO ""; peer P/IO; active P;'
        "join IO P; destroy P; peer IO; active IO;"
        "create P; peer P; join P IO; peer IO"
    ),
    "flags": steps("create P; up P; flags P; up P; down P; flags P; down P; flags P"),
    "MAC": steps(
        "create P; set_mac P 0200000000aa/0600000000ff; up P;set_mac P/ABSENT 0200000000ab; mac P"
    ),
    "MTU": steps(
        "max_mtu; create P; set_mtu P 71/72/1500/2048/2049/16370/16371/65536/0/-1;"
        "set_mtu ABSENT 1500; set_max_mtu 1499/1500/16371/0/16370; max_mtu;"
        "device_mtu P; create IO; device_mtu IO; set_mtu IO 16370/16371"
    ),
    "opening BPF": [
        *PAIR,
        *steps(
            "open a/b 1; open b 200; set a BIOCGBLEN 0; promiscuous a; drops a; read a;"
            "write a 60; set a BIOCSBLEN 0/31/32/33/4096/524288/1048576; attach a ABSENT/P;"
            "set a BIOCSBLEN 4096; set a BIOCGBLEN 0; promiscuous a/a; flags P;"
            "close a; flags P; open a 1"
        ),
    ],
    "more devices are made": steps(
        "open a4 4; open a3 3; open a4 4; open a5 5; open a7 7; open a9 9; open a0 0;"
        "open b 4; close a4; open b 4;"
        "open a6 6; open a7 7; open a8 8; open a255 255; open a256 256"
    ),
    "small buffers": [
        *PAIR,
        *ENDS,
        *steps(
            "reader small 3 P 4096; reader tiny 4 P 100; write ndrv 300; read tiny/small;"
            "write ndrv 1000 0/1/2/3/4; read small/small; readable small; drops small"
        ),
    ],
    "sending batches": [
        *PAIR,
        *steps(
            "open a 1; set a BIOCSBATCHWRITE 1; set a BIOCSHDRCMPLT 1; set a BIOCSBATCHWRITE 1;"
            "set a BIOCSHDRCMPLT 0; attach a IO; set a BIOCSBATCHWRITE 1; reader r 2 P"
        ),
        *[step for batch in BATCHES for step in (("write_batch", "a", *batch), ("read", "r"))],
        ("down", IO),
        ("write_batch", "a", [(60,)]),
        ("up", IO),
        ("write_batch", "a", [(61,)]),
        *steps("read r; set a BIOCSBATCHWRITE 0; write a 60; read r"),
    ],
    "reading": [
        *PAIR,
        *ENDS,
        *steps("readable r; read r; read r 0/1/4096/524287/524289; both 14/15/16/17/18/60/61"),
        *[("write", "ndrv", size, size) for size in (60, 61, 62, 63, 64, 14)],
        *steps("readable r; read r 100; read r; readable r; read r; drops r"),
        ("write_raw", "ndrv", TAGGED),
        ("write_raw", "bpf", TAGGED),
        ("read", "r"),
    ],
    "what one sent oneself": [
        *PAIR,
        *ENDS,
        *steps(
            "reader sees 3 IO; set sees BIOCSSEESENT 1; write ndrv 60; read bpf/sees/r;"
            "write bpf 61; read bpf/sees/r; write sees 62; read bpf/sees/r;"
            "write r 63; read bpf/sees/r"
        ),
    ],
    "lengths at an MTU of 1500": [
        *PAIR,
        *ENDS,
        *steps("both 1513/1514/1515/1518/1519/1532/2047/2048"),
        ("write_raw", "ndrv", TAGGED[:16] + frame(1514)[12:]),
        *steps("read r; set bpf BIOCSHDRCMPLT 0; write bpf 60; read r"),
    ],
    "lengths at the largest MTU": [
        *LARGE_PAIR,
        *ENDS,
        # Before macOS 15 the first long ones may wait for what comes behind them.
        *steps("write ndrv 16384/16384/16384/60; read r"),
        *steps("both 1514/2048/2049/8192/8193/9014/16384; read r"),
        *steps("write ndrv 16385/60; read r"),
    ],
    "down": [
        *PAIR,
        *ENDS,
        *steps(
            "down IO; both 60; up IO; both 61; down P; both 62; write r 62;"
            "up P; down IO; write r 62; read bpf; up IO;"
            'join P ""; both 62; join P IO; both 63'
        ),
    ],
    "the interface goes": [
        *PAIR,
        *ENDS,
        *steps(
            "write r 60 1; write r 61 2; destroy IO; readable bpf; read bpf 100; read bpf/bpf;"
            "readable bpf; write bpf 60; drops bpf; set bpf BIOCGBLEN 0; promiscuous bpf;"
            "write ndrv/ndrv/r 60; read r; create IO; join P IO; up IO; write bpf 60; read bpf;"
            "writer new IO; write new 64; read r"
        ),
    ],
    "the peer goes": [
        *PAIR,
        *ENDS,
        *steps("destroy P; write ndrv/bpf 60; read bpf; readable bpf; read r"),
    ],
    "opening AF_NDRV": [
        *PAIR,
        *steps(
            "reader r 1 P; socket a; send_buffer a None/1/8192/16384/16388/0/-1; write a 60;"
            "bind a ABSENT/IO; close a; socket a; bind a IO/IO; write a 60;"
            "connect a IO; write a 60; read r; connect a IO; write a 60; read r;"
            "socket b; connect b IO; write b 60;"
            "writer c IO 8192; write c 8192/8193/60; read r; writer d ABSENT"
        ),
    ],
    "another interface goes": [
        *PAIR,
        *ENDS,
        *steps(
            "create OTHER; up OTHER; writer other OTHER; destroy OTHER; both 60; write other 60"
        ),
    ],
}
