"""What the keeper takes of a request for a vmnet interface."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fethpipe.keeper.messages import RequestError, pack_request, unpack_request
from fethpipe.provision.request import DeviceRequest, VmnetOptions

_RIGHT = VmnetOptions("host", start="10.0.0.1", end="10.0.0.9", mask="255.0.0.0")._asdict()
_texts = st.none() | st.text("abcz0189.:-", min_size=1, max_size=15)


@given(
    mode=st.text("abc", min_size=1, max_size=15),
    interface=_texts,
    start=_texts,
    end=_texts,
    mask=_texts,
    isolated=st.booleans(),
    network=st.none() | st.uuids().map(str),
)
def test_options_arrive_as_they_were_meant(**values: object) -> None:
    request = DeviceRequest(vmnet=VmnetOptions(**values))  # type: ignore[arg-type]
    message = json.loads(json.dumps(pack_request("vmnet", request)))
    assert unpack_request(message) == ("vmnet", request)


@pytest.mark.parametrize(
    "options",
    [
        7,
        "shared",
        [],
        {},
        {**_RIGHT, "more": 1},
        {name: value for name, value in _RIGHT.items() if name != "mode"},
        *({**_RIGHT, name: 1} for name in _RIGHT),
        {**_RIGHT, "isolated": None},
        {**_RIGHT, "start": "10.0.0.1\n"},
        {**_RIGHT, "interface": "a name of 16 by."},
        {**_RIGHT, "network": "0" * 37},
        {**_RIGHT, "mode": "\ud800"},
    ],
)
def test_options_of_a_wrong_form_are_refused(options: object) -> None:
    message = {**pack_request("vmnet", DeviceRequest()), "vmnet": options}
    with pytest.raises(RequestError):
        unpack_request(message)
